// MariaDB Connector/J over JDBC. Runs checks.json and prints one JSON line per check, as interpreter.py does for
// Python clients.
//
// Never here: what a result should be. The runner compares two runs.

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.sql.DataSource;
import org.mariadb.jdbc.MariaDbPoolDataSource;

public final class JavaClient {
    static final int LONG = 200; // longer texts are shown as length and digest
    static final int MANY_ROWS = 200; // more rows are shown as count and digest
    static final int KILL_SECONDS = 30; // a statement that is not gone by then was not killed
    static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

    /** This driver can't do such a step at all. */
    static final class Unsupported extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    record Login(String host, String port, String user, String password, String database) {}

    private final Login login;
    private final Map<String, Connection> connections = new LinkedHashMap<>();

    private JavaClient(Login login) {
        this.login = login;
    }

    static String digest(String text) {
        try {
            var sum = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(sum);
        } catch (java.security.NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static Object shortened(String text) {
        return text.length() <= LONG ? text : Map.of("length", text.length(), "sha256", digest(text));
    }

    /** A value with its type, so that 1 and "1" differ. */
    static Object canonical(Object value) {
        return switch (value) {
            case null -> null;
            case Boolean truth -> truth;
            case String text -> shortened(text);
            case byte[] raw -> Map.of("bytes", shortened(HexFormat.of().formatHex(raw)));
            case java.sql.Blob blob -> blob(blob);
            default -> Map.of(value.getClass().getSimpleName(), String.valueOf(value));
        };
    }

    static Object blob(java.sql.Blob blob) {
        try {
            return Map.of("blob", shortened(HexFormat.of().formatHex(blob.getBytes(1, (int) blob.length()))));
        } catch (SQLException error) {
            return shown(error);
        }
    }

    static Object shown(Exception error) {
        var all = new LinkedHashMap<String, Object>();
        all.put("class", error.getClass().getSimpleName());
        all.put("message", withoutId(String.valueOf(error.getMessage())));
        if (error instanceof SQLException sql) {
            all.put("code", sql.getErrorCode());
            all.put("state", sql.getSQLState());
        }
        return Map.of("error", all);
    }

    /** The driver puts "(conn=ID) " before messages. */
    static Object withoutId(String message) {
        return shortened(message.replaceAll("\\(conn=\\d+\\)", "(conn)"));
    }

    /** All results of a statement that was executed. */
    static List<Object> results(Statement statement, boolean rows) throws SQLException {
        var all = new ArrayList<Object>();
        var more = rows;
        while (more || statement.getUpdateCount() != -1) {
            all.add(more ? rows(statement.getResultSet()) : update(statement));
            try {
                more = statement.getMoreResults();
            } catch (SQLException error) {
                all.add(shown(error));
                break;
            }
        }
        all.add(warnings(statement.getWarnings()));
        return all;
    }

    static Object update(Statement statement) throws SQLException {
        var keys = new ArrayList<Object>();
        try (var generated = statement.getGeneratedKeys()) {
            while (generated.next()) {
                keys.add(canonical(generated.getObject(1)));
            }
        }
        return Map.of("affected", statement.getUpdateCount(), "keys", keys);
    }

    static Object warnings(SQLWarning warning) {
        var all = new ArrayList<Object>();
        for (var each = warning; each != null; each = each.getNextWarning()) {
            all.add(List.of(each.getErrorCode(), withoutId(each.getMessage())));
        }
        return Map.of("warnings", all);
    }

    static Object rows(ResultSet result) throws SQLException {
        var about = result.getMetaData();
        var columns = new ArrayList<Object>();
        for (var index = 1; index <= about.getColumnCount(); index++) {
            columns.add(column(about, index));
        }
        var rows = new ArrayList<Object>();
        while (result.next()) {
            var row = new ArrayList<Object>();
            for (var index = 1; index <= columns.size(); index++) {
                row.add(canonical(result.getObject(index)));
            }
            rows.add(row);
        }
        result.close();
        if (rows.size() > MANY_ROWS) {
            return Map.of("columns", columns, "rows", rows.size(), "sha256", digest(GSON.toJson(rows)));
        }
        return Map.of("columns", columns, "rows", rows);
    }

    static Object column(ResultSetMetaData about, int index) throws SQLException {
        return Arrays.asList(about.getColumnLabel(index), about.getColumnName(index), about.getTableName(index),
            about.getColumnTypeName(index), about.getColumnClassName(index), about.getPrecision(index),
            about.getScale(index), about.isNullable(index), about.isSigned(index), about.isAutoIncrement(index));
    }

    static Object query(Connection connection, String sql) throws SQLException {
        try (var statement = connection.createStatement()) {
            return results(statement, statement.execute(sql, Statement.RETURN_GENERATED_KEYS));
        }
    }

    static Object execute(Connection connection, String sql, JsonArray params) throws SQLException {
        try (var statement = connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            bind(statement, params);
            return results(statement, statement.execute());
        }
    }

    static void bind(PreparedStatement statement, JsonArray params) throws SQLException {
        for (var index = 0; index < params.size(); index++) {
            statement.setObject(index + 1, parameter(params.get(index).getAsJsonObject()));
        }
    }

    static Object parameter(JsonObject spec) {
        var kind = spec.keySet().iterator().next();
        var value = spec.get(kind);
        return switch (kind) {
            case "null" -> null;
            case "int" -> value.getAsLong();
            case "float" -> value.getAsDouble();
            case "decimal" -> new BigDecimal(value.getAsString());
            case "bytes" -> HexFormat.of().parseHex(value.getAsString());
            case "date" -> Date.valueOf(value.getAsString());
            case "datetime" -> Timestamp.valueOf(value.getAsString().replace('T', ' '));
            case "time" -> Time.valueOf(value.getAsString());
            case "repeat" -> repeated(value.getAsJsonArray());
            default -> value.getAsString();
        };
    }

    static String repeated(JsonArray pair) {
        return pair.get(0).getAsString().repeat(pair.get(1).getAsInt());
    }

    String url(JsonObject more) {
        var database = text(more, "database", login.database);
        var url = new StringBuilder("jdbc:mariadb://" + login.host + ":" + login.port + "/" + (database == null ? "" : database));
        url.append("?allowMultiQueries=true&allowLocalInfile=true&connectTimeout=20000&socketTimeout=90000");
        url.append("&useServerPrepStmts=true&allowPublicKeyRetrieval=true&maxAllowedPacket=67108864");
        url.append("&compress=" + (more.has("compress") && more.get("compress").getAsBoolean()));
        if (more.has("tls")) {
            url.append("&sslMode=" + (more.get("tls").getAsBoolean() ? "trust" : "disable"));
        }
        return url.toString();
    }

    static String text(JsonObject more, String name, String otherwise) {
        if (!more.has(name)) {
            return otherwise;
        }
        return more.get(name).isJsonNull() ? null : more.get(name).getAsString();
    }

    Connection connection(String name, JsonObject more) throws SQLException {
        var connection = connections.get(name);
        if (connection == null) {
            var user = text(more, "user", login.user);
            connection = DriverManager.getConnection(url(more), user, text(more, "password", login.password));
            connections.put(name, connection);
        }
        return connection;
    }

    Object run(JsonObject step) {
        try {
            return step(step);
        } catch (Unsupported unsupported) {
            return "unsupported";
        } catch (Exception error) {
            return shown(error);
        }
    }

    Object step(JsonObject step) throws Exception {
        if (step.has("connect")) {
            var more = step.getAsJsonObject("connect");
            if (more.has("charset")) {
                throw new Unsupported(); // always utf8mb4
            }
            return query(connection("other", more), "SELECT DATABASE(), CURRENT_USER()");
        }
        if (step.has("open")) {
            connection(step.get("open").getAsString(), new JsonObject());
            return "open";
        }
        var connection = connection(text(step, "on", "a"), new JsonObject());
        if (step.has("query")) {
            var sql = step.get("query").getAsString();
            return query(connection, step.has("big") ? sql.replace("$big", repeated(step.getAsJsonArray("big"))) : sql);
        }
        if (step.has("execute")) {
            return execute(connection, step.get("execute").getAsString(), step.getAsJsonArray("params"));
        }
        return special(connection, step);
    }

    Object special(Connection connection, JsonObject step) throws Exception {
        if (step.has("ping")) {
            return connection.isValid(20);
        }
        if (step.has("use")) {
            connection.setCatalog(step.get("use").getAsString());
            return connection.getCatalog();
        }
        if (step.has("reset")) {
            ((org.mariadb.jdbc.Connection) connection).reset();
            return "reset";
        }
        if (step.has("cursor")) {
            return cursor(connection, step.get("cursor").getAsString(), step.get("fetch").getAsInt());
        }
        if (step.has("abandon")) {
            return abandon(connection, step.get("abandon").getAsString());
        }
        if (step.has("infile")) {
            return infile(connection, step.get("infile").getAsString(), step.get("into").getAsString());
        }
        if (step.has("missing_infile")) {
            return query(connection, "LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE " + step.get("missing_infile").getAsString());
        }
        if (step.has("kill_query")) {
            return cancel(connection, step.get("kill_query").getAsString());
        }
        if (step.has("transaction")) {
            return transaction(connection, step.getAsJsonObject("transaction"));
        }
        if (step.has("bulk")) {
            return bulk(connection, step.getAsJsonObject("bulk"));
        }
        if (step.has("pool")) {
            return pool(step.getAsJsonObject("pool"));
        }
        throw new Unsupported(); // change_user, charset: JDBC has no such calls
    }

    /** Rows in pieces of `fetch`, the rest waiting at the server. */
    static Object cursor(Connection connection, String sql, int fetch) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            statement.setFetchSize(fetch);
            return rows(statement.executeQuery());
        }
    }

    static Object abandon(Connection connection, String sql) throws SQLException {
        try (var statement = connection.createStatement()) {
            statement.setFetchSize(1);
            try (var result = statement.executeQuery(sql)) {
                result.next();
                return result.getMetaData().getColumnCount();
            }
        }
    }

    static Object infile(Connection connection, String content, String table) throws Exception {
        var file = Files.createTempFile("sluice", ".tsv");
        try {
            Files.writeString(file, content);
            return query(connection, "LOAD DATA LOCAL INFILE '" + file + "' INTO TABLE " + table);
        } finally {
            Files.delete(file);
        }
    }

    /** Statement.cancel() kills the query over a connection of its own; one that has not begun yet is not hurt by it. */
    static Object cancel(Connection connection, String sql) throws Exception {
        try (var statement = connection.createStatement(); var threads = Executors.newVirtualThreadPerTaskExecutor()) {
            var victim = threads.submit(() -> {
                try {
                    return (Object) results(statement, statement.execute(sql));
                } catch (SQLException error) {
                    return shown(error);
                }
            });
            for (var attempt = 0; attempt < KILL_SECONDS * 10 && !victim.isDone(); attempt++) {
                statement.cancel();
                Thread.sleep(100);
            }
            return victim.isDone() ? victim.get() : "not killed within " + KILL_SECONDS + " s";
        }
    }

    static final Map<String, Integer> LEVELS = Map.of(
        "READ UNCOMMITTED", Connection.TRANSACTION_READ_UNCOMMITTED, "READ COMMITTED", Connection.TRANSACTION_READ_COMMITTED,
        "REPEATABLE READ", Connection.TRANSACTION_REPEATABLE_READ, "SERIALIZABLE", Connection.TRANSACTION_SERIALIZABLE);

    static Object transaction(Connection connection, JsonObject plan) throws SQLException {
        var before = connection.getTransactionIsolation();
        connection.setReadOnly(plan.has("read_only"));
        connection.setTransactionIsolation(plan.has("isolation") ? LEVELS.get(plan.get("isolation").getAsString()) : before);
        connection.setAutoCommit(false);
        var all = new ArrayList<Object>();
        for (JsonElement sql : plan.getAsJsonArray("queries")) {
            try {
                all.add(query(connection, sql.getAsString()));
            } catch (SQLException error) {
                all.add(shown(error));
            }
        }
        if (plan.get("end").getAsString().equals("commit")) {
            connection.commit();
        } else {
            connection.rollback();
        }
        connection.setAutoCommit(true);
        connection.setReadOnly(false);
        connection.setTransactionIsolation(before);
        return all;
    }

    static Object bulk(Connection connection, JsonObject plan) throws SQLException {
        try (var statement = connection.prepareStatement(plan.get("sql").getAsString())) {
            for (JsonElement row : plan.getAsJsonArray("rows")) {
                bind(statement, row.getAsJsonArray());
                statement.addBatch();
            }
            return statement.executeBatch();
        }
    }

    Object pool(JsonObject plan) throws Exception {
        var source = new MariaDbPoolDataSource(url(new JsonObject()) + "&maxPoolSize=" + plan.get("connections").getAsInt());
        source.setUser(login.user);
        source.setPassword(login.password);
        var table = plan.get("table").getAsString();
        var outcomes = new ArrayList<Object>();
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            var workers = new ArrayList<Future<Object>>();
            for (var worker = 0; worker < plan.get("workers").getAsInt(); worker++) {
                workers.add(threads.submit(work(source, table, worker, plan.get("rounds").getAsInt())));
            }
            for (var worker : workers) {
                outcomes.add(worker.get());
            }
        }
        source.close();
        return outcomes;
    }

    static Callable<Object> work(DataSource source, String table, int worker, int rounds) {
        return () -> {
            for (var round = 0; round < rounds; round++) {
                try (var connection = source.getConnection()) {
                    connection.setAutoCommit(false);
                    try (var statement = connection.prepareStatement("INSERT INTO " + table + " (worker) VALUES (?)")) {
                        statement.setInt(1, worker);
                        statement.executeUpdate();
                    }
                    connection.commit();
                } catch (SQLException error) {
                    return shown(error);
                }
            }
            return "done";
        };
    }

    void close() {
        for (var connection : connections.values()) {
            try {
                connection.close();
            } catch (SQLException ended) {
                // a check may have ended it on purpose
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        var given = new LinkedHashMap<>(Map.of("host", "127.0.0.1", "user", "clients", "password", "", "database", "clients"));
        var names = new ArrayList<String>();
        for (var index = 0; index < arguments.length; index++) {
            if (arguments[index].startsWith("--")) {
                given.put(arguments[index].substring(2), arguments[++index]);
            } else {
                names.add(arguments[index]);
            }
        }
        var login = new Login(given.get("host"), given.get("port"), given.get("user"), given.get("password"), given.get("database"));
        var out = new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, StandardCharsets.UTF_8);
        var driver = new org.mariadb.jdbc.Driver();
        out.println(GSON.toJson(Map.of("version", "MariaDB Connector/J " + driver.getMajorVersion() + "." + driver.getMinorVersion()
            + ", Java " + Runtime.version().feature())));
        var path = System.getenv().getOrDefault("CHECKS_JSON", "tests/clients/checks.json");
        for (var check : GSON.fromJson(Files.readString(Path.of(path)), JsonArray.class)) {
            var name = check.getAsJsonObject().get("check").getAsString();
            if (!names.isEmpty() && !names.contains(name)) {
                continue;
            }
            var run = new JavaClient(login);
            var result = new ArrayList<Object>();
            for (var step : check.getAsJsonObject().getAsJsonArray("steps")) {
                result.add(run.run(step.getAsJsonObject()));
            }
            run.close();
            out.println(GSON.toJson(new java.util.TreeMap<>(Map.of("check", name, "result", result))));
        }
        System.exit(0); // whatever a check abandoned must not keep this process
    }
}
