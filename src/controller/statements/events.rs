//! Statements about scheduled events.
//!
//! Never here: sending one.

/// The events that the account may see: schema, name, status, last change in the session's time zone, and the scheduler.
/// One more than are looked at.
pub const EVENTS: &str = "SELECT event_schema, event_name, status, last_altered, @@global.event_scheduler \
     FROM information_schema.events ORDER BY event_schema, event_name LIMIT 1001";

/// What has to be said again when an event is enabled, or is lost: schema, name, definer, character set, collation.
pub const KEPT: &str = "SELECT event_schema, event_name, definer, character_set_client, collation_connection \
     FROM information_schema.events ORDER BY event_schema, event_name LIMIT 1001";

/// A name between backquotes, which every `sql_mode` takes.
fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// Makes an event run, for the account that it runs for now: without its name it would be whoever enables it. Logged:
/// replicas have it as disabled there.
pub fn enable(definer: &str, schema: &str, event: &str) -> String {
    let (user, host) = definer.rsplit_once('@').unwrap_or((definer, "%"));
    format!("ALTER DEFINER={}@{} EVENT {}.{} ENABLE", name(user), name(host), name(schema), name(event))
}

/// An altered event takes both from the session, whatever it had. `sql_mode` and time zone stay its own.
pub fn speak_as(character_set: &str, collation: &str) -> String {
    format!("SET character_set_client={character_set}, collation_connection={collation}")
}

/// Switches the scheduler.
pub fn set_scheduler(on: bool) -> String {
    format!("SET GLOBAL event_scheduler={}", if on { "ON" } else { "OFF" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        let text = enable("o`d@x@10.%", "a`b", "c d");
        assert_eq!(text, "ALTER DEFINER=`o``d@x`@`10.%` EVENT `a``b`.`c d` ENABLE");
    }
}
