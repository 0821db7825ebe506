//! What the doctor asks. Nothing here changes anything.
//!
//! Never here: a statement that is not a question.

/// What the account may do.
pub const GRANTS: &str = "SHOW GRANTS";

/// Every setting.
pub const VARIABLES: &str = "SELECT variable_name, variable_value FROM performance_schema.global_variables";

/// What it has persisted.
pub const PERSISTED: &str =
    "SELECT variable_name, variable_value FROM performance_schema.persisted_variables";

/// Its clock.
pub const CLOCK: &str = "SELECT UNIX_TIMESTAMP(NOW(6))";

/// Its channels: name, source, receiver with its error, applier with its error, auto-position, heartbeat, delay.
pub const CHANNELS: &str = "SELECT c.channel_name, s.source_uuid, s.service_state, s.last_error_number, \
     s.last_error_message, a.service_state, \
     (SELECT CONCAT('error ', w.last_error_number, ': ', w.last_error_message) \
        FROM performance_schema.replication_applier_status_by_worker w \
        WHERE w.channel_name=c.channel_name AND w.last_error_number<>0 LIMIT 1), \
     c.auto_position, c.heartbeat_interval, d.desired_delay \
     FROM performance_schema.replication_connection_configuration c \
     JOIN performance_schema.replication_connection_status s ON s.channel_name=c.channel_name \
     JOIN performance_schema.replication_applier_status a ON a.channel_name=c.channel_name \
     JOIN performance_schema.replication_applier_configuration d ON d.channel_name=c.channel_name \
     WHERE c.channel_name NOT LIKE 'group\\_replication%'";

/// Tables whose rows InnoDB orders by a number of its own, as they have no key for it.
pub const KEYLESS: &str = "SELECT t.name FROM information_schema.innodb_indexes i \
     JOIN information_schema.innodb_tables t ON t.table_id=i.table_id \
     WHERE i.name='GEN_CLUST_INDEX' AND t.name NOT LIKE 'mysql/%' AND t.name NOT LIKE 'sys/%' \
     AND t.name LIKE '%/%' ORDER BY t.name LIMIT 1000";

/// Tables of other engines: those in schemas that the account may see, and files that were opened since the start.
pub const FOREIGN: &str = "SELECT CONCAT(table_schema, '/', table_name) FROM information_schema.tables \
     WHERE engine NOT IN ('InnoDB','PERFORMANCE_SCHEMA') \
     AND table_schema NOT IN ('mysql','sys','information_schema','performance_schema') \
     UNION SELECT file_name FROM performance_schema.file_instances \
     WHERE event_name IN ('wait/io/file/myisam/dfile','wait/io/file/csv/data','wait/io/file/archive/data') \
     AND file_name NOT LIKE '%/mysql/%' AND file_name NOT LIKE '%/performance\\_schema/%' LIMIT 1000";

/// Scheduled events that are disabled as on a replica, by both names of that.
pub const RESTING_EVENTS: &str = "SELECT CONCAT(event_schema, '/', event_name) FROM information_schema.events \
     WHERE status IN ('SLAVESIDE_DISABLED','REPLICA_SIDE_DISABLED') ORDER BY event_schema, event_name LIMIT 1000";
