// Go's go-sql-driver/mysql under database/sql. Runs checks.json and prints one JSON line per check, as interpreter.py
// does for Python clients.
//
// Never here: what a result should be. The runner compares two runs.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	long        = 200              // longer texts are shown as length and digest
	manyRows    = 200              // more rows are shown as count and digest
	killSeconds = 30               // a statement that is not gone by then was not killed
	silence     = 90 * time.Second // an answer that takes longer is one of its own
	packet      = 64 << 20         // as on the servers
)

// Statements that database/sql runs with Exec; all others may return rows.
var withoutRows = regexp.MustCompile(`(?i)^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|SET|START|BEGIN|COMMIT|ROLLBACK|LOAD|SAVEPOINT|RELEASE|USE|DO|LOCK|UNLOCK|KILL|XA)\b[^;]*$`)

// Of the driver; set by the linker.
var version = "unknown"

type object = map[string]any

type login struct {
	Host, User, Password, Database string
	Port                           int
}

var errUnsupported = errors.New("unsupported")

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func shortened(text string) any {
	if len(text) <= long {
		return text
	}
	return object{"length": len(text), "sha256": digest(text)}
}

// A value with its type, so that 1 and "1" differ.
func canonical(value any) any {
	switch value := value.(type) {
	case nil, bool:
		return value
	case string:
		return shortened(value)
	case []byte:
		return object{"bytes": shortened(string(value))}
	case time.Time:
		return object{"time": value.Format(time.RFC3339Nano)}
	default:
		return object{fmt.Sprintf("%T", value): fmt.Sprint(value)}
	}
}

func shown(err error) any {
	var server *mysql.MySQLError
	if errors.As(err, &server) {
		return object{"error": object{"number": server.Number, "sqlstate": string(server.SQLState[:]), "message": server.Message}}
	}
	return object{"error": object{"type": fmt.Sprintf("%T", err), "message": err.Error()}}
}

// All results of a query: columns with all that the driver knows of them, and rows.
func results(rows *sql.Rows) ([]any, error) {
	defer rows.Close()
	var all []any
	for {
		result, err := oneResult(rows)
		if err != nil {
			return append(all, shown(err)), nil
		}
		all = append(all, result)
		if !rows.NextResultSet() {
			break
		}
	}
	if err := rows.Err(); err != nil {
		all = append(all, shown(err))
	}
	return all, nil
}

func oneResult(rows *sql.Rows) (any, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	var columns []any
	for _, column := range types {
		nullable, known := column.Nullable()
		precision, scale, decimal := column.DecimalSize()
		columns = append(columns, []any{column.Name(), column.DatabaseTypeName(), nullable, known, precision, scale,
			decimal, fmt.Sprint(column.ScanType())})
	}
	var all []any
	for rows.Next() {
		values, places := make([]any, len(types)), make([]any, len(types))
		for index := range values {
			places[index] = &values[index]
		}
		if err := rows.Scan(places...); err != nil {
			return nil, err
		}
		for index := range values {
			values[index] = canonical(values[index])
		}
		all = append(all, values)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(all) > manyRows {
		text, _ := json.Marshal(all)
		return object{"columns": columns, "rows": len(all), "sha256": digest(string(text))}, nil
	}
	return object{"columns": columns, "rows": all}, nil
}

func done(result sql.Result, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	affected, _ := result.RowsAffected()
	id, _ := result.LastInsertId()
	more := []any{}
	if several, ok := result.(mysql.Result); ok {
		more = append(more, several.AllRowsAffected(), several.AllLastInsertIds())
	}
	return object{"affected": affected, "id": id, "more": more}, nil
}

// What sql.Conn, sql.Tx and sql.DB have in common.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func query(ctx context.Context, on runner, text string) (any, error) {
	if withoutRows.MatchString(text) {
		return done(on.ExecContext(ctx, text))
	}
	rows, err := on.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	return results(rows)
}

func execute(ctx context.Context, conn *sql.Conn, text string, values []any) (any, error) {
	statement, err := conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	if withoutRows.MatchString(text) {
		return done(statement.ExecContext(ctx, values...))
	}
	rows, err := statement.QueryContext(ctx, values...)
	if err != nil {
		return nil, err
	}
	return results(rows)
}

func parameter(spec object) any {
	for kind, value := range spec {
		switch kind {
		case "null":
			return nil
		case "int":
			number, _ := value.(json.Number).Int64()
			return number
		case "float":
			number, _ := value.(json.Number).Float64()
			return number
		case "bytes":
			raw, _ := hex.DecodeString(value.(string))
			return raw
		case "date":
			day, _ := time.Parse("2006-01-02", value.(string))
			return day
		case "datetime":
			moment, _ := time.Parse("2006-01-02T15:04:05.999999", value.(string))
			return moment
		case "repeat":
			return repeated(value)
		default: // str, and the types that Go lacks, as text
			return value
		}
	}
	return nil
}

func repeated(value any) string {
	pair := value.([]any)
	times, _ := pair[1].(json.Number).Int64()
	return strings.Repeat(pair[0].(string), int(times))
}

// One check: its own connections, each the only one of its own pool.
type check struct {
	login login
	pools []*sql.DB
	conns map[string]*sql.Conn
}

func (c *check) config(more object) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = c.login.User, c.login.Password, c.login.Database
	config.Net, config.Addr = "tcp", fmt.Sprintf("%s:%d", c.login.Host, c.login.Port)
	config.MultiStatements, config.MaxAllowedPacket, config.Timeout = true, packet, 20*time.Second
	config.ReadTimeout = silence
	config.Logger = &mysql.NopLogger{}
	for name, value := range more {
		switch name {
		case "user":
			config.User = value.(string)
		case "password":
			config.Passwd = value.(string)
		case "database":
			config.DBName, _ = value.(string)
		case "tls":
			config.TLSConfig = map[bool]string{true: "skip-verify", false: "false"}[value.(bool)]
		case "compress":
			_ = config.Apply(mysql.EnableCompression(value.(bool)))
		case "charset":
			_ = config.Apply(mysql.Charset(value.(string), ""))
		}
	}
	return config
}

func (c *check) pool(more object) (*sql.DB, error) {
	connector, err := mysql.NewConnector(c.config(more))
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	c.pools = append(c.pools, pool)
	return pool, nil
}

func (c *check) connection(ctx context.Context, name string, more object) (*sql.Conn, error) {
	if conn, known := c.conns[name]; known {
		return conn, nil
	}
	pool, err := c.pool(more)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err == nil {
		c.conns[name] = conn
	}
	return conn, err
}

func (c *check) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
	for _, pool := range c.pools {
		pool.Close()
	}
}

func (c *check) run(step object) any {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	result, err := c.step(ctx, step)
	if errors.Is(err, errUnsupported) {
		return "unsupported"
	}
	if err != nil {
		return shown(err)
	}
	return result
}

func (c *check) step(ctx context.Context, step object) (any, error) {
	if more, given := step["connect"].(object); given {
		conn, err := c.connection(ctx, "other", more)
		if err != nil {
			return nil, err
		}
		return query(ctx, conn, "SELECT DATABASE(), CURRENT_USER()")
	}
	if name, given := step["open"].(string); given {
		_, err := c.connection(ctx, name, nil)
		return "open", err
	}
	name, given := step["on"].(string)
	if !given {
		name = "a"
	}
	conn, err := c.connection(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"query", "execute", "kill_query", "infile", "missing_infile", "abandon"} {
		if text, given := step[kind].(string); given {
			return c.statement(ctx, conn, kind, text, step)
		}
	}
	switch {
	case step["ping"] != nil:
		return "pong", conn.PingContext(ctx)
	case step["pool"] != nil:
		return c.pooled(ctx, step["pool"].(object))
	case step["transaction"] != nil:
		return transaction(ctx, conn, step["transaction"].(object))
	case step["bulk"] != nil:
		return bulk(ctx, conn, step["bulk"].(object))
	}
	return nil, errUnsupported // reset, change_user, use, charset, cursor: database/sql has no such calls
}

func (c *check) statement(ctx context.Context, conn *sql.Conn, kind, text string, step object) (any, error) {
	switch kind {
	case "query":
		if step["big"] != nil {
			text = strings.Replace(text, "$big", repeated(step["big"]), 1)
		}
		return query(ctx, conn, text)
	case "execute":
		var values []any
		for _, spec := range step["params"].([]any) {
			values = append(values, parameter(spec.(object)))
		}
		return execute(ctx, conn, text, values)
	case "infile":
		mysql.RegisterReaderHandler("given", func() io.Reader { return strings.NewReader(text) })
		return query(ctx, conn, fmt.Sprintf("LOAD DATA LOCAL INFILE 'Reader::given' INTO TABLE %s", step["into"]))
	case "missing_infile":
		return query(ctx, conn, fmt.Sprintf("LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE %s", text))
	case "abandon":
		return abandon(ctx, conn, text)
	default:
		return c.killQuery(ctx, conn, text)
	}
}

// The first row of a result whose rest is left to the driver.
func abandon(ctx context.Context, conn *sql.Conn, text string) (any, error) {
	rows, err := conn.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	rows.Next()
	columns, _ := rows.Columns()
	return len(columns), rows.Close()
}

// KILL QUERY again and again until the statement is gone: one that has not begun yet is not hurt by a KILL.
func (c *check) killQuery(ctx context.Context, conn *sql.Conn, text string) (any, error) {
	killer, err := c.connection(ctx, "killer", nil)
	if err != nil {
		return nil, err
	}
	var number int64
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&number); err != nil {
		return nil, err
	}
	gone := make(chan any, 1)
	go func() {
		result, err := query(ctx, conn, text)
		if err != nil {
			result = shown(err)
		}
		// Whether the error comes before or behind the column definitions is chance: the KILL comes when it comes.
		if only, listed := result.([]any); listed && len(only) == 1 {
			if entry, isObject := only[0].(object); isObject && entry["error"] != nil {
				result = entry
			}
		}
		gone <- result
	}()
	for range killSeconds * 10 {
		_, _ = killer.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", number))
		select {
		case result := <-gone:
			return result, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Sprintf("not killed within %d s", killSeconds), nil
}

// Many goroutines with transactions on the few connections of one sql.DB.
func (c *check) pooled(ctx context.Context, plan object) (any, error) {
	pool, err := c.pool(nil)
	if err != nil {
		return nil, err
	}
	number := func(name string) int { value, _ := plan[name].(json.Number).Int64(); return int(value) }
	pool.SetMaxOpenConns(number("connections"))
	outcomes := make([]string, number("workers"))
	var all sync.WaitGroup
	for worker := range outcomes {
		all.Go(func() {
			for range number("rounds") {
				if err := oneRound(ctx, pool, plan["table"].(string), worker); err != nil {
					outcomes[worker] = err.Error()
				}
			}
		})
	}
	all.Wait()
	return outcomes, nil
}

func oneRound(ctx context.Context, pool *sql.DB, table string, worker int) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (worker) VALUES (?)", table), worker); err != nil {
		return err
	}
	return tx.Commit()
}

var levels = map[string]sql.IsolationLevel{
	"READ UNCOMMITTED": sql.LevelReadUncommitted,
	"READ COMMITTED":   sql.LevelReadCommitted,
	"REPEATABLE READ":  sql.LevelRepeatableRead,
	"SERIALIZABLE":     sql.LevelSerializable,
}

func transaction(ctx context.Context, conn *sql.Conn, plan object) (any, error) {
	options := &sql.TxOptions{ReadOnly: plan["read_only"] == true}
	if level, given := plan["isolation"].(string); given {
		options.Isolation = levels[level]
	}
	tx, err := conn.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	var all []any
	for _, text := range plan["queries"].([]any) {
		result, err := query(ctx, tx, text.(string))
		if err != nil {
			result = shown(err)
		}
		all = append(all, result)
	}
	if plan["end"] == "rollback" {
		return all, tx.Rollback()
	}
	return all, tx.Commit()
}

func bulk(ctx context.Context, conn *sql.Conn, plan object) (any, error) {
	statement, err := conn.PrepareContext(ctx, plan["sql"].(string))
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	var affected int64
	for _, row := range plan["rows"].([]any) {
		var values []any
		for _, spec := range row.([]any) {
			values = append(values, parameter(spec.(object)))
		}
		result, err := statement.ExecContext(ctx, values...)
		if err != nil {
			return nil, err
		}
		count, _ := result.RowsAffected()
		affected += count
	}
	return affected, nil
}

func main() {
	var given login
	flag.StringVar(&given.Host, "host", "127.0.0.1", "")
	flag.IntVar(&given.Port, "port", 0, "")
	flag.StringVar(&given.User, "user", "clients", "")
	flag.StringVar(&given.Password, "password", "", "")
	flag.StringVar(&given.Database, "database", "clients", "")
	flag.Parse()
	path := cmp.Or(os.Getenv("CHECKS_JSON"), filepath.Join("tests", "clients", "checks.json"))
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var checks []struct {
		Check string
		Steps []object
	}
	if err := decoder.Decode(&checks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("{\"version\": \"go-sql-driver/mysql %s, %s\"}\n", version, runtime.Version())
	for _, one := range checks {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), one.Check) {
			continue
		}
		run := check{login: given, conns: map[string]*sql.Conn{}}
		var outcomes []any
		for _, step := range one.Steps {
			outcomes = append(outcomes, run.run(step))
		}
		run.close()
		line, _ := json.Marshal(object{"check": one.Check, "result": outcomes})
		fmt.Println(string(line))
	}
}
