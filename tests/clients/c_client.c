/* The C API of libmysqlclient, and of MariaDB Connector/C. Runs checks.json and prints one JSON line per check, as
 * interpreter.py does for Python clients.
 *
 * Never here: what a result should be. The runner compares two runs. */
#define _POSIX_C_SOURCE 200809L
#include <json-c/json.h>
#include <mysql.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef LIBMARIADB
typedef my_bool flag;
#else
typedef bool flag;
#endif

enum {
    LONG = 200,        /* longer texts are shown as length and digest */
    MANY_ROWS = 200,   /* more rows are shown as count and digest */
    KILL_SECONDS = 30, /* a statement that is not gone by then was not killed */
    SILENCE = 90,      /* seconds; an answer that takes longer is an error */
    PARAMETERS = 16,
    CELL = 1 << 10, /* longer values of prepared statements are cut, with their length shown */
};

static const char *host = "127.0.0.1", *user = "clients", *password = "", *database = "clients";
static unsigned port;

typedef struct json_object json;

static uint64_t digest(uint64_t hash, const void *data, size_t length)
{
    const unsigned char *bytes = data;
    for (size_t at = 0; at < length; at++)
        hash = (hash ^ bytes[at]) * 0x100000001b3u; /* FNV-1a: enough to tell two runs apart */
    return hash;
}

static json *shown(const char *data, size_t length)
{
    char text[2 * LONG + 64];
    bool plain = true;
    for (size_t at = 0; at < length && plain; at++)
        plain = (unsigned char)data[at] >= 0x20 && (unsigned char)data[at] < 0x7f;
    if (plain && length <= LONG)
        return json_object_new_string_len(data, (int)length);
    if (length <= LONG) {
        strcpy(text, "0x");
        for (size_t at = 0; at < length; at++)
            sprintf(text + 2 + 2 * at, "%02x", (unsigned char)data[at]);
    } else {
        sprintf(text, "%zu bytes, %016llx", length, (unsigned long long)digest(0xcbf29ce484222325u, data, length));
    }
    return json_object_new_string(text);
}

static json *problem(unsigned code, const char *state, const char *message)
{
    json *all = json_object_new_object(), *error = json_object_new_array();
    json_object_array_add(error, json_object_new_int64(code));
    json_object_array_add(error, json_object_new_string(state));
    json_object_array_add(error, shown(message, strlen(message)));
    json_object_object_add(all, "error", error);
    return all;
}

static json *failure(MYSQL *handle)
{
    return problem(mysql_errno(handle), mysql_sqlstate(handle), mysql_error(handle));
}

static json *columns(MYSQL_RES *result)
{
    json *all = json_object_new_array();
    const MYSQL_FIELD *fields = mysql_fetch_fields(result);
    for (unsigned at = 0; at < mysql_num_fields(result); at++) {
        char text[600];
        snprintf(text, sizeof text, "%.99s|%.99s|%.99s|%.99s|%.99s|%d|%lu|%u|%u|%u", fields[at].name, fields[at].org_name,
                 fields[at].table, fields[at].org_table, fields[at].db, (int)fields[at].type, fields[at].length,
                 fields[at].flags, fields[at].decimals, fields[at].charsetnr);
        json_object_array_add(all, json_object_new_string(text));
    }
    return all;
}

static json *rows(MYSQL_RES *result)
{
    json *all = json_object_new_array();
    uint64_t hash = 0xcbf29ce484222325u, count = 0;
    for (MYSQL_ROW row; (row = mysql_fetch_row(result)); count++) {
        const unsigned long *lengths = mysql_fetch_lengths(result);
        json *cells = json_object_new_array();
        for (unsigned at = 0; at < mysql_num_fields(result); at++) {
            if (row[at])
                hash = digest(hash, row[at], lengths[at]);
            json_object_array_add(cells, row[at] ? shown(row[at], lengths[at]) : NULL);
        }
        if (count < MANY_ROWS)
            json_object_array_add(all, cells);
        else
            json_object_put(cells);
    }
    if (count > MANY_ROWS) {
        char text[64];
        sprintf(text, "%llu rows, %016llx", (unsigned long long)count, (unsigned long long)hash);
        json_object_put(all);
        all = json_object_new_string(text);
    }
    return all;
}

/* All results of a text. */
static json *query(MYSQL *handle, const char *sql, size_t length)
{
    json *all = json_object_new_array();
    int more = mysql_real_query(handle, sql, length) ? 1 : 0;
    if (more)
        json_object_array_add(all, failure(handle));
    while (!more) {
        json *one = json_object_new_object();
        MYSQL_RES *result = mysql_store_result(handle);
        if (!result && mysql_field_count(handle)) {
            json_object_put(one);
            json_object_array_add(all, failure(handle));
            break;
        }
        if (result) {
            json_object_object_add(one, "columns", columns(result));
            json_object_object_add(one, "rows", rows(result));
            mysql_free_result(result);
        }
        json_object_object_add(one, "affected", json_object_new_int64((int64_t)mysql_affected_rows(handle)));
        json_object_object_add(one, "id", json_object_new_int64((int64_t)mysql_insert_id(handle)));
        json_object_object_add(one, "warnings", json_object_new_int64(mysql_warning_count(handle)));
        json_object_object_add(one, "info", mysql_info(handle) ? json_object_new_string(mysql_info(handle)) : NULL);
        json_object_array_add(all, one);
        more = mysql_next_result(handle);
        if (more > 0)
            json_object_array_add(all, failure(handle));
    }
    return all;
}

static json *text_query(MYSQL *handle, const char *sql)
{
    return query(handle, sql, strlen(sql));
}

static char *repeated(json *pair, size_t *length)
{
    *length = (size_t)json_object_get_int64(json_object_array_get_idx(pair, 1));
    char *text = malloc(*length + 1);
    memset(text, *json_object_get_string(json_object_array_get_idx(pair, 0)), *length);
    text[*length] = 0;
    return text;
}

static void bind(MYSQL_BIND *to, json *spec, int64_t *integer, double *real)
{
    json_object_object_foreach(spec, kind, value)
    {
        if (!strcmp(kind, "null")) {
            to->buffer_type = MYSQL_TYPE_NULL;
        } else if (!strcmp(kind, "int")) {
            *integer = json_object_get_int64(value);
            to->buffer_type = MYSQL_TYPE_LONGLONG;
            to->buffer = integer;
        } else if (!strcmp(kind, "float")) {
            *real = json_object_get_double(value);
            to->buffer_type = MYSQL_TYPE_DOUBLE;
            to->buffer = real;
        } else {
            size_t length = (size_t)json_object_get_string_len(value);
            to->buffer_type = !strcmp(kind, "bytes") ? MYSQL_TYPE_BLOB : MYSQL_TYPE_STRING;
            to->buffer = !strcmp(kind, "repeat") ? repeated(value, &length) : strdup(json_object_get_string(value));
            to->buffer_length = length; /* bytes stay hexadecimal: any bytes will do */
        }
    }
}

static json *statement_failure(MYSQL_STMT *statement)
{
    return problem(mysql_stmt_errno(statement), mysql_stmt_sqlstate(statement), mysql_stmt_error(statement));
}

/* The rows of a statement, every value fetched as text. */
static json *fetched(MYSQL_STMT *statement, MYSQL_RES *about)
{
    unsigned width = mysql_num_fields(about);
    MYSQL_BIND *bound = calloc(width, sizeof *bound);
    char(*cells)[CELL] = calloc(width, CELL);
    unsigned long *lengths = calloc(width, sizeof *lengths);
    flag *nulls = calloc(width, sizeof *nulls), *cut = calloc(width, sizeof *cut);
    for (unsigned at = 0; at < width; at++) {
        bound[at].buffer_type = MYSQL_TYPE_STRING;
        bound[at].buffer = cells[at];
        bound[at].buffer_length = CELL;
        bound[at].length = &lengths[at];
        bound[at].is_null = &nulls[at];
        bound[at].error = &cut[at];
    }
    json *all = json_object_new_array();
    mysql_stmt_bind_result(statement, bound);
    int end;
    while ((end = mysql_stmt_fetch(statement)) == 0 || end == MYSQL_DATA_TRUNCATED) {
        json *row = json_object_new_array();
        for (unsigned at = 0; at < width; at++) {
            size_t length = lengths[at] < CELL ? lengths[at] : CELL;
            json_object_array_add(row, nulls[at] ? NULL : shown(cells[at], length));
            if (!nulls[at] && lengths[at] > CELL)
                json_object_array_add(row, json_object_new_int64((int64_t)lengths[at]));
        }
        json_object_array_add(all, row);
    }
    if (end == 1)
        json_object_array_add(all, statement_failure(statement));
    free(bound), free(cells), free(lengths), free(nulls), free(cut);
    return all;
}

/* Prepares, executes once per row of parameters, and reads. With `fetch` the rows wait in a cursor on the server. */
static json *execute(MYSQL *handle, const char *sql, json *parameters, unsigned long fetch)
{
    MYSQL_STMT *statement = mysql_stmt_init(handle);
    MYSQL_BIND bound[PARAMETERS] = {0};
    int64_t integers[PARAMETERS];
    double reals[PARAMETERS];
    json *one = NULL;
    size_t count = parameters ? json_object_array_length(parameters) : 0;
    for (size_t at = 0; at < count && at < PARAMETERS; at++)
        bind(&bound[at], json_object_array_get_idx(parameters, at), &integers[at], &reals[at]);
    if (fetch) {
        unsigned long type = CURSOR_TYPE_READ_ONLY;
        mysql_stmt_attr_set(statement, STMT_ATTR_CURSOR_TYPE, &type);
        mysql_stmt_attr_set(statement, STMT_ATTR_PREFETCH_ROWS, &fetch);
    }
    if (mysql_stmt_prepare(statement, sql, strlen(sql)) || (count && mysql_stmt_bind_param(statement, bound)) ||
        mysql_stmt_execute(statement)) {
        one = statement_failure(statement);
    } else {
        MYSQL_RES *about = mysql_stmt_result_metadata(statement);
        one = json_object_new_object();
        json_object_object_add(one, "affected", json_object_new_int64((int64_t)mysql_stmt_affected_rows(statement)));
        json_object_object_add(one, "id", json_object_new_int64((int64_t)mysql_stmt_insert_id(statement)));
        if (about) {
            json_object_object_add(one, "columns", columns(about));
            json_object_object_add(one, "rows", fetched(statement, about));
            mysql_free_result(about);
        }
    }
    for (size_t at = 0; at < count && at < PARAMETERS; at++)
        if (bound[at].buffer != &integers[at] && bound[at].buffer != &reals[at])
            free(bound[at].buffer);
    mysql_stmt_close(statement);
    return one;
}

struct names {
    const char *name;
    MYSQL *handle;
};

/* One check: its own connections. */
struct check {
    struct names open[8];
    json *refused; /* why the last connection was not opened */
};

static MYSQL *dial(struct check *check, json *more)
{
    MYSQL *handle = mysql_init(NULL);
    unsigned seconds = SILENCE, on = 1;
    unsigned long packet = 64ul << 20, flags = CLIENT_MULTI_STATEMENTS;
    const char *as = user, *with = password, *in = database;
    json *value;
    mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &seconds);
    mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &on);
    mysql_options(handle, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet);
    mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (more && json_object_object_get_ex(more, "user", &value))
        as = json_object_get_string(value);
    if (more && json_object_object_get_ex(more, "password", &value))
        with = json_object_get_string(value);
    if (more && json_object_object_get_ex(more, "database", &value))
        in = json_object_get_string(value);
    if (more && json_object_object_get_ex(more, "charset", &value))
        mysql_options(handle, MYSQL_SET_CHARSET_NAME, json_object_get_string(value));
    if (more && json_object_object_get_ex(more, "compress", &value))
        flags |= CLIENT_COMPRESS;
#ifndef LIBMARIADB
    unsigned mode = SSL_MODE_PREFERRED;
    if (more && json_object_object_get_ex(more, "tls", &value))
        mode = json_object_get_boolean(value) ? SSL_MODE_REQUIRED : SSL_MODE_DISABLED;
    mysql_options(handle, MYSQL_OPT_SSL_MODE, &mode);
    mysql_options(handle, MYSQL_OPT_GET_SERVER_PUBLIC_KEY, &on);
#endif
    if (mysql_real_connect(handle, host, as, with, in, port, NULL, flags))
        return handle;
    check->refused = failure(handle);
    mysql_close(handle);
    return NULL;
}

static MYSQL *connection(struct check *check, const char *name, json *more)
{
    struct names *at = check->open;
    while (at->name && strcmp(at->name, name))
        at++;
    if (!at->name && (at->handle = dial(check, more)))
        at->name = name;
    return at->handle;
}

struct victim {
    MYSQL *handle;
    const char *sql;
    json *result;
    volatile bool gone;
};

static void *run_victim(void *data)
{
    struct victim *victim = data;
    mysql_thread_init();
    victim->result = text_query(victim->handle, victim->sql);
    mysql_thread_end();
    victim->gone = true;
    return NULL;
}

/* KILL QUERY again and again until the statement is gone: one that has not begun yet is not hurt by a KILL. */
static json *kill_query(struct check *check, MYSQL *handle, const char *sql)
{
    struct victim victim = {.handle = handle, .sql = sql};
    MYSQL *killer = connection(check, "killer", NULL);
    char text[64];
    pthread_t thread;
    sprintf(text, "KILL QUERY %lu", mysql_thread_id(handle));
    pthread_create(&thread, NULL, run_victim, &victim);
    for (int attempt = 0; attempt < KILL_SECONDS * 10 && !victim.gone; attempt++) {
        json_object_put(text_query(killer, text));
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    if (!victim.gone)
        return json_object_new_string("not killed");
    pthread_join(thread, NULL);
    return victim.result;
}

static json *infile(MYSQL *handle, const char *content, const char *table)
{
    char name[] = "/tmp/sluice-XXXXXX", sql[300];
    int file = mkstemp(name);
    json *result = NULL;
    if (file >= 0 && write(file, content, strlen(content)) >= 0) {
        snprintf(sql, sizeof sql, "LOAD DATA LOCAL INFILE '%s' INTO TABLE %s", name, table);
        result = text_query(handle, sql);
    }
    close(file);
    unlink(name);
    return result;
}

static json *transaction(MYSQL *handle, json *plan)
{
    json *all = json_object_new_array(), *value;
    char text[100];
    if (json_object_object_get_ex(plan, "isolation", &value)) {
        snprintf(text, sizeof text, "SET TRANSACTION ISOLATION LEVEL %s", json_object_get_string(value));
        json_object_array_add(all, text_query(handle, text));
    }
    bool read_only = json_object_object_get_ex(plan, "read_only", NULL);
    json_object_array_add(all, text_query(handle, read_only ? "START TRANSACTION READ ONLY" : "START TRANSACTION"));
    json *queries = json_object_object_get(plan, "queries");
    for (size_t at = 0; at < json_object_array_length(queries); at++)
        json_object_array_add(all, text_query(handle, json_object_get_string(json_object_array_get_idx(queries, at))));
    bool commit = !strcmp(json_object_get_string(json_object_object_get(plan, "end")), "commit");
    flag failed = commit ? mysql_commit(handle) : mysql_rollback(handle);
    json_object_array_add(all, failed ? failure(handle) : json_object_new_string("ended"));
    return all;
}

static json *bulk(MYSQL *handle, json *plan)
{
    json *all = json_object_new_array(), *list = json_object_object_get(plan, "rows");
    for (size_t at = 0; at < json_object_array_length(list); at++) {
        const char *sql = json_object_get_string(json_object_object_get(plan, "sql"));
        json_object_array_add(all, execute(handle, sql, json_object_array_get_idx(list, at), 0));
    }
    return all;
}

static json *big_query(MYSQL *handle, const char *sql, json *big)
{
    size_t length;
    char *value = repeated(big, &length), *at = strstr(sql, "$big"), *whole = malloc(length + strlen(sql) + 1);
    size_t before = (size_t)(at - sql);
    memcpy(whole, sql, before);
    memcpy(whole + before, value, length);
    strcpy(whole + before + length, at + 4);
    json *result = query(handle, whole, strlen(whole));
    free(value), free(whole);
    return result;
}

/* An unbuffered result of which only the first row is read. */
static json *abandon(MYSQL *handle, const char *sql)
{
    if (mysql_query(handle, sql))
        return failure(handle);
    MYSQL_RES *result = mysql_use_result(handle);
    mysql_fetch_row(result);
    json *width = json_object_new_int64(mysql_num_fields(result));
    mysql_free_result(result);
    return width;
}

static json *ended(MYSQL *handle, int failed)
{
    return failed ? failure(handle) : json_object_new_string("done");
}

static json *step(struct check *check, json *step)
{
    json *value, *other;
    const char *name = json_object_object_get_ex(step, "on", &value) ? json_object_get_string(value) : "a";
    bool connects = json_object_object_get_ex(step, "connect", &other);
    if (json_object_object_get_ex(step, "open", &value))
        name = json_object_get_string(value);
    MYSQL *handle = connects ? connection(check, "other", other) : connection(check, name, NULL);
    if (!handle)
        return check->refused;
    if (connects)
        return text_query(handle, "SELECT DATABASE(), CURRENT_USER()");
    json_object_object_foreach(step, kind, argument)
    {
        const char *text = json_object_get_string(argument);
        if (!strcmp(kind, "open"))
            return json_object_new_string("open");
        if (!strcmp(kind, "query"))
            return json_object_object_get_ex(step, "big", &value) ? big_query(handle, text, value) : text_query(handle, text);
        if (!strcmp(kind, "execute"))
            return execute(handle, text, json_object_object_get(step, "params"), 0);
        if (!strcmp(kind, "cursor"))
            return execute(handle, text, NULL, (unsigned long)json_object_get_int64(json_object_object_get(step, "fetch")));
        if (!strcmp(kind, "ping"))
            return ended(handle, mysql_ping(handle));
        if (!strcmp(kind, "reset"))
            return ended(handle, mysql_reset_connection(handle));
        if (!strcmp(kind, "change_user"))
            return ended(handle, mysql_change_user(handle, text, password, database));
        if (!strcmp(kind, "use"))
            return ended(handle, mysql_select_db(handle, text));
        if (!strcmp(kind, "charset"))
            return ended(handle, mysql_set_character_set(handle, text));
        if (!strcmp(kind, "abandon"))
            return abandon(handle, text);
        if (!strcmp(kind, "infile"))
            return infile(handle, text, json_object_get_string(json_object_object_get(step, "into")));
        if (!strcmp(kind, "kill_query"))
            return kill_query(check, handle, text);
        if (!strcmp(kind, "transaction"))
            return transaction(handle, argument);
        if (!strcmp(kind, "bulk"))
            return bulk(handle, argument);
        if (!strcmp(kind, "missing_infile")) {
            char sql[200];
            snprintf(sql, sizeof sql, "LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE %s", text);
            return text_query(handle, sql);
        }
        break;
    }
    return json_object_new_string("unsupported"); /* pool: the library has none */
}

static void run(json *plan)
{
    struct check check = {0};
    json *line = json_object_new_object(), *results = json_object_new_array();
    json *steps = json_object_object_get(plan, "steps");
    for (size_t at = 0; at < json_object_array_length(steps); at++)
        json_object_array_add(results, step(&check, json_object_array_get_idx(steps, at)));
    for (struct names *at = check.open; at->name; at++)
        mysql_close(at->handle);
    json_object_object_add(line, "check", json_object_get(json_object_object_get(plan, "check")));
    json_object_object_add(line, "result", results);
    puts(json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN));
    fflush(stdout);
    json_object_put(line);
}

int main(int count, char **arguments)
{
    int at = 1;
    for (; at + 1 < count && !strncmp(arguments[at], "--", 2); at += 2) {
        const char *value = arguments[at + 1];
        if (!strcmp(arguments[at], "--host"))
            host = value;
        else if (!strcmp(arguments[at], "--port"))
            port = (unsigned)strtoul(value, NULL, 10);
        else if (!strcmp(arguments[at], "--user"))
            user = value;
        else if (!strcmp(arguments[at], "--password"))
            password = value;
        else if (!strcmp(arguments[at], "--database"))
            database = value;
    }
    const char *path = getenv("CHECKS_JSON");
    json *checks = json_object_from_file(path ? path : "tests/clients/checks.json");
    if (!checks) {
        fputs(json_util_get_last_err(), stderr);
        return 1;
    }
    mysql_library_init(0, NULL, NULL);
#ifdef LIBMARIADB
    printf("{\"version\": \"MariaDB Connector/C %s\"}\n", mysql_get_client_info());
#else
    printf("{\"version\": \"libmysqlclient %s\"}\n", mysql_get_client_info());
#endif
    for (size_t check = 0; check < json_object_array_length(checks); check++) {
        json *plan = json_object_array_get_idx(checks, check);
        bool wanted = at == count;
        for (int name = at; name < count; name++)
            wanted = wanted || !strcmp(arguments[name], json_object_get_string(json_object_object_get(plan, "check")));
        if (wanted)
            run(plan);
    }
    return 0;
}
