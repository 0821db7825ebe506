<?php
// PHP's mysqli over mysqlnd. Never here: what a result should be.
declare(strict_types=1);

require __DIR__ . '/interpreter.php';

class MysqliClient extends Client
{
    public function __construct(private mysqli $connection) {}

    public function query(string $sql): array
    {
        $all = [];
        try {
            $this->connection->multi_query($sql);
            do {
                $all[] = $this->result($this->connection->store_result());
            } while ($this->connection->more_results() && $this->connection->next_result());
        } catch (mysqli_sql_exception $error) {
            $all[] = ['error' => canonical(describe($error))];
        }
        return $all;
    }

    private function result(mysqli_result|false $result): array
    {
        $connection = $this->connection;
        $shown = [
            'affected' => $connection->affected_rows,
            'id' => $connection->insert_id,
            'warnings' => $connection->warning_count,
            'info' => $connection->info,
        ];
        if ($result) {
            $columns = array_map(fn($field) => array_diff_key((array) $field, ['max_length' => 0]), $result->fetch_fields());
            $shown += result_set($columns, $result->fetch_all());
            $result->free();
        }
        return $shown;
    }

    public function execute(string $sql, array $params): array
    {
        $statement = $this->connection->prepare($sql);
        $types = implode('', array_map(fn($value) => is_int($value) ? 'i' : (is_float($value) ? 'd' : 's'), $params));
        if ($params) {
            $statement->bind_param($types, ...$params);
        }
        $statement->execute();
        $shown = ['affected' => $statement->affected_rows, 'id' => $statement->insert_id];
        if ($result = $statement->get_result()) {
            $shown += result_set($result->fetch_fields(), $result->fetch_all());
        }
        $statement->close();
        return $shown;
    }

    public function transaction(array $plan): array
    {
        $connection = $this->connection;
        if (isset($plan['isolation'])) {
            $connection->query("SET TRANSACTION ISOLATION LEVEL {$plan['isolation']}");
        }
        $connection->begin_transaction(($plan['read_only'] ?? false) ? MYSQLI_TRANS_START_READ_ONLY : 0);
        $all = array_map($this->query(...), $plan['queries']);
        $plan['end'] === 'commit' ? $connection->commit() : $connection->rollback();
        return $all;
    }

    public function step(string $kind, mixed $argument): mixed
    {
        $connection = $this->connection;
        return match ($kind) {
            'ping' => $connection->stat() !== false, // ping() itself is deprecated
            'use' => $connection->select_db($argument),
            'charset' => [$connection->set_charset($argument), $connection->character_set_name()],
            'change_user' => $connection->change_user(...$argument),
            'cursor' => $this->cursor($argument),
            'abandon' => $this->abandon($argument),
            default => throw new Unsupported(), // reset: mysqli has no such call
        };
    }

    /** A read-only cursor on the server; the extension fetches row by row. */
    private function cursor(string $sql): array
    {
        $statement = $this->connection->prepare($sql);
        $statement->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
        $statement->execute();
        $statement->bind_result($a, $b);
        $rows = [];
        while ($statement->fetch()) {
            $rows[] = [$a, $b];
        }
        $statement->close();
        return canonical($rows);
    }

    /** An unbuffered result of which only the first row is read. */
    private function abandon(string $sql): int
    {
        $result = $this->connection->query($sql, MYSQLI_USE_RESULT);
        $row = $result->fetch_row();
        $result->free();
        return count($row);
    }

    public function threadId(): int
    {
        return $this->connection->thread_id;
    }

    public function close(): void
    {
        $this->connection->close();
    }
}

function connect(array $login): MysqliClient
{
    $connection = mysqli_init();
    $connection->options(MYSQLI_OPT_LOCAL_INFILE, 1);
    $connection->options(MYSQLI_OPT_CONNECT_TIMEOUT, 20);
    $flags = ($login['compress'] ?? false) ? MYSQLI_CLIENT_COMPRESS : 0;
    if ($login['tls'] ?? false) {
        $connection->ssl_set(null, null, null, null, null);
        $flags |= MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT;
    }
    $connection->real_connect($login['host'], $login['user'], $login['password'], $login['database'], $login['port'], null, $flags);
    if (isset($login['charset'])) {
        $connection->set_charset($login['charset']);
    }
    return new MysqliClient($connection);
}

function describe(Throwable $error): array
{
    $state = $error instanceof mysqli_sql_exception ? $error->getSqlState() : null;
    return [get_class($error), $error->getCode(), $state, $error->getMessage()];
}

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
main('PHP ' . PHP_VERSION . ', ' . mysqli_get_client_info(), connect(...), describe(...));
