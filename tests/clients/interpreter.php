<?php
// What the two PHP clients share: it runs checks.json and prints one JSON line per check, as interpreter.py does for
// Python clients. A client is a class with the methods of `Client`; it throws whatever its extension throws.
//
// Never here: what a result should be. The runner compares two runs.
declare(strict_types=1);

const LONG = 200; // longer texts are shown as length and digest
const MANY_ROWS = 200; // more rows are shown as count and digest
const KILL_SECONDS = 30; // a statement that is not gone by then was not killed

ini_set('display_errors', 'stderr');
ini_set('memory_limit', '1G');
ini_set('precision', '17');
ini_set('mysqli.allow_local_infile', '1');

/** This extension can't do such a step at all. */
class Unsupported extends Exception {}

abstract class Client
{
    abstract public function query(string $sql): array;
    abstract public function execute(string $sql, array $params): array;
    public function step(string $kind, mixed $argument): mixed
    {
        throw new Unsupported();
    }
    abstract public function transaction(array $plan): array;
    abstract public function threadId(): int;
    abstract public function close(): void;

    public function bulk(array $plan): array
    {
        $all = [];
        foreach ($plan['rows'] as $row) {
            $all[] = $this->execute($plan['sql'], array_map(parameter(...), $row));
        }
        return $all;
    }
}

function shortened(string $text): mixed
{
    if (!is_utf8($text)) {
        return ['bytes' => shortened(bin2hex($text))];
    }
    return strlen($text) <= LONG ? $text : ['length' => strlen($text), 'sha256' => hash('sha256', $text)];
}

// Without the mbstring extension: preg knows UTF-8, but not texts of any length.
function is_utf8(string $text): bool
{
    return strlen($text) > LONG || preg_match('//u', $text) === 1;
}

/** A value with its type, so that 1 and "1" differ. */
function canonical(mixed $value): mixed
{
    return match (true) {
        $value === null, is_bool($value) => $value,
        is_string($value) => shortened($value),
        is_array($value) => array_map(canonical(...), $value),
        is_object($value) => canonical(get_object_vars($value)),
        default => [gettype($value) => var_export($value, true)],
    };
}

function result_set(array $columns, array $rows): array
{
    $rows = array_map(canonical(...), $rows);
    if (count($rows) > MANY_ROWS) {
        $rows = ['rows' => count($rows), 'sha256' => hash('sha256', json_encode($rows))];
    }
    return ['columns' => canonical($columns), 'rows' => $rows];
}

function parameter(array $spec): mixed
{
    $kind = array_key_first($spec);
    $value = $spec[$kind];
    return match ($kind) {
        'null' => null,
        'bytes' => hex2bin($value),
        'datetime' => str_replace('T', ' ', $value),
        'repeat' => str_repeat($value[0], $value[1]),
        default => $value, // int, float, str, and the types that PHP lacks, as text
    };
}

class Check
{
    private array $connections = [];

    /** `$connect` takes the login and what else a step asks for. */
    public function __construct(private Closure $connect, private Closure $describe, private array $login) {}

    public function run(array $step): mixed
    {
        try {
            return $this->step($step);
        } catch (Unsupported) {
            return 'unsupported';
        } catch (Throwable $error) {
            return ['error' => canonical(($this->describe)($error))];
        }
    }

    private function connection(string $name, array $more = []): Client
    {
        return $this->connections[$name] ??= ($this->connect)([...$this->login, ...$more]);
    }

    private function step(array $step): mixed
    {
        $kind = array_key_first($step);
        $argument = $step[$kind];
        if ($kind === 'connect') {
            return $this->connection('other', $argument)->query('SELECT DATABASE(), CURRENT_USER()');
        }
        if ($kind === 'open') {
            $this->connection($argument);
            return 'open';
        }
        $connection = $this->connection($step['on'] ?? 'a');
        return match ($kind) {
            'query' => $connection->query(self::withBig($step)),
            'execute' => $connection->execute($argument, array_map(parameter(...), $step['params'])),
            'change_user' => $connection->step($kind, [$argument, $this->login['password'], $this->login['database']]),
            'infile' => self::infile($connection, $argument, $step['into']),
            'missing_infile' => $connection->query("LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE $argument"),
            'transaction' => $connection->transaction($argument),
            'bulk' => $connection->bulk($argument),
            'kill_query' => $this->killQuery($connection, $argument),
            'pool' => throw new Unsupported(), // PHP has one request per process and no pools
            default => $connection->step($kind, $argument),
        };
    }

    private static function withBig(array $step): string
    {
        return isset($step['big']) ? str_replace('$big', str_repeat(...$step['big']), $step['query']) : $step['query'];
    }

    private static function infile(Client $connection, string $content, string $table): array
    {
        $file = tempnam(sys_get_temp_dir(), 'sluice');
        file_put_contents($file, $content);
        try {
            return $connection->query("LOAD DATA LOCAL INFILE '$file' INTO TABLE $table");
        } finally {
            unlink($file);
        }
    }

    // KILL QUERY from a process of its own, again and again: a statement that has not begun yet is not hurt by one.
    private function killQuery(Client $connection, string $sql): mixed
    {
        $number = $connection->threadId();
        $killer = proc_open([PHP_BINARY_WRAPPER, ...$GLOBALS['argv'], '--kill', (string) $number], [], $pipes);
        try {
            return $connection->query($sql);
        } finally {
            proc_terminate($killer);
            proc_close($killer);
        }
    }

    public function kill(int $number): void
    {
        $killer = $this->connection('killer');
        for ($end = time() + KILL_SECONDS; time() < $end; usleep(100_000)) {
            try {
                $killer->query("KILL QUERY $number");
            } catch (Throwable) {
                return; // the connection to kill is gone
            }
        }
    }

    public function close(): void
    {
        foreach ($this->connections as $connection) {
            try {
                $connection->close();
            } catch (Throwable) {
                // a check may have ended it on purpose
            }
        }
    }
}

function main(string $version, Closure $connect, Closure $describe): void
{
    define('PHP_BINARY_WRAPPER', getenv('PHP_PROGRAM') ?: PHP_BINARY);
    $given = getopt('', ['host:', 'port:', 'user:', 'password:', 'database:', 'kill:'], $rest);
    $login = [
        'host' => $given['host'] ?? '127.0.0.1',
        'port' => (int) $given['port'],
        'user' => $given['user'] ?? 'clients',
        'password' => $given['password'] ?? '',
        'database' => $given['database'] ?? 'clients',
    ];
    if (isset($given['kill'])) {
        (new Check($connect, $describe, $login))->kill((int) $given['kill']);
        return;
    }
    $names = array_slice($GLOBALS['argv'], $rest);
    $show = fn(array $line) => print json_encode($line, JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR) . "\n";
    $show(['version' => $version]);
    foreach (json_decode(file_get_contents(getenv('CHECKS_JSON') ?: __DIR__ . '/checks.json'), true) as $check) {
        if ($names && !in_array($check['check'], $names, true)) {
            continue;
        }
        $run = new Check($connect, $describe, $login);
        $result = array_map($run->run(...), $check['steps']);
        $run->close();
        $show(['check' => $check['check'], 'result' => $result]);
    }
}
