<?php
// PHP's PDO with its MySQL driver. `query` is a plain text, `execute` a prepared statement of the server (not
// emulated, as PDO does unless told). Never here: what a result should be.
declare(strict_types=1);

require __DIR__ . '/interpreter.php';

class PdoClient extends Client
{
    public function __construct(private PDO $connection) {}

    public function query(string $sql): array
    {
        $statement = $this->connection->query($sql);
        $all = [];
        do {
            try {
                $all[] = $this->result($statement);
                $more = $statement->nextRowset();
            } catch (PDOException $error) {
                $all[] = ['error' => canonical(describe($error))];
                $more = false;
            }
        } while ($more);
        return $all;
    }

    public function execute(string $sql, array $params): array
    {
        $statement = $this->connection->prepare($sql);
        foreach ($params as $index => $value) {
            $type = is_int($value) ? PDO::PARAM_INT : ($value === null ? PDO::PARAM_NULL : PDO::PARAM_STR);
            $statement->bindValue($index + 1, is_float($value) ? (string) $value : $value, $type);
        }
        $statement->execute();
        return $this->result($statement);
    }

    private function result(PDOStatement $statement): array
    {
        $shown = [
            'affected' => $statement->rowCount(),
            'id' => $this->connection->lastInsertId(),
        ];
        if ($count = $statement->columnCount()) {
            $columns = array_map($statement->getColumnMeta(...), range(0, $count - 1));
            $shown += result_set($columns, $statement->fetchAll(PDO::FETCH_NUM));
        }
        return $shown;
    }

    public function transaction(array $plan): array
    {
        $connection = $this->connection;
        $level = isset($plan['isolation']) ? ["ISOLATION LEVEL {$plan['isolation']}"] : [];
        $access = ($plan['read_only'] ?? false) ? ['READ ONLY'] : [];
        if ($set = implode(', ', [...$level, ...$access])) {
            $connection->exec("SET TRANSACTION $set");
        }
        $connection->beginTransaction();
        $all = [];
        foreach ($plan['queries'] as $sql) {
            try {
                $all[] = $this->query($sql);
            } catch (PDOException $error) {
                $all[] = ['error' => canonical(describe($error))];
            }
        }
        $all[] = $connection->inTransaction();
        $plan['end'] === 'commit' ? $connection->commit() : $connection->rollBack();
        return $all;
    }

    public function step(string $kind, mixed $argument): mixed
    {
        return match ($kind) {
            'ping' => is_string($this->connection->getAttribute(PDO::ATTR_SERVER_INFO)), // COM_STATISTICS
            'abandon' => $this->abandon($argument),
            default => throw new Unsupported(), // use, charset, reset, change_user, cursor: PDO has no such calls
        };
    }

    /** An unbuffered result of which only the first row is read. */
    private function abandon(string $sql): int
    {
        $this->connection->setAttribute(Pdo\Mysql::ATTR_USE_BUFFERED_QUERY, false);
        $statement = $this->connection->query($sql);
        $row = $statement->fetch(PDO::FETCH_NUM);
        $statement->closeCursor();
        $this->connection->setAttribute(Pdo\Mysql::ATTR_USE_BUFFERED_QUERY, true);
        return count($row);
    }

    public function threadId(): int
    {
        return (int) $this->connection->query('SELECT CONNECTION_ID()')->fetchColumn();
    }

    public function close(): void
    {
        unset($this->connection);
    }
}

function connect(array $login): PdoClient
{
    $charset = isset($login['charset']) ? ";charset={$login['charset']}" : '';
    $source = "mysql:host={$login['host']};port={$login['port']};dbname={$login['database']}$charset";
    $options = [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => false,
        PDO::ATTR_TIMEOUT => 20,
        Pdo\Mysql::ATTR_LOCAL_INFILE => true,
        Pdo\Mysql::ATTR_COMPRESS => $login['compress'] ?? false,
    ];
    if ($login['tls'] ?? false) {
        $options[Pdo\Mysql::ATTR_SSL_CA] = '';
        $options[Pdo\Mysql::ATTR_SSL_VERIFY_SERVER_CERT] = false;
    }
    return new PdoClient(new PDO($source, $login['user'], $login['password'], $options));
}

function describe(Throwable $error): array
{
    return [get_class($error), $error->getCode(), $error->errorInfo ?? null, $error->getMessage()];
}

main('PHP ' . PHP_VERSION . ', PDO over ' . (new ReflectionExtension('mysqlnd'))->getVersion(), connect(...), describe(...));
