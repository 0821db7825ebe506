//! Members that come and go with the configuration file.

use serde_json::Value;

use super::*;

/// A member that is filled takes some ten seconds, on a busy machine more.
const LONG: Duration = Duration::from_secs(90);

fn instance(cluster: &Cluster, number: usize) -> String {
    let node = cluster.node(number);
    format!("[[instance]]\nname = '{}'\naddress = '{}'\n", node.name(), node.address())
}

/// An empty server with Sluice's accounts, as any new one.
async fn emptied(cluster: &Cluster, number: usize) {
    let node = cluster.node(number);
    node.wipe().await.unwrap();
    let mut conn = node.root_conn().await.unwrap();
    conn.query_drop("SET sql_log_bin = 0").await.unwrap();
    for statement in accounts().statements {
        conn.query_drop(statement).await.unwrap();
    }
    conn.disconnect().await.unwrap();
}

async fn status(sluice: &SluiceProcess) -> Value {
    serde_json::from_str(&sluice.get("/status").await.unwrap().body).unwrap()
}

fn names(status: &Value) -> Vec<String> {
    let all = status["instances"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn of(status: &Value, name: &str) -> Value {
    let all = status["instances"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
}

async fn until(sluice: &SluiceProcess, what: &str, wanted: impl Fn(&Value) -> bool) {
    let waited = wait_until(what, LONG, || async { wanted(&status(sluice).await) }).await;
    let log = || std::fs::read_to_string(sluice.log()).unwrap();
    assert!(waited.is_ok(), "never {what}: {:#}\n{}", status(sluice).await, log());
}

/// The file with these members and no others.
fn write(sluice: &SluiceProcess, cluster: &Cluster, members: &[usize], more: &str) {
    let mut within = false;
    let text = std::fs::read_to_string(sluice.config()).unwrap();
    let others = text.lines().filter(|line| {
        within = line.starts_with("[[instance]]") || within && !line.starts_with('[');
        !within
    });
    let others: Vec<&str> = others.collect();
    let members: String = members.iter().map(|number| instance(cluster, *number)).collect();
    std::fs::write(sluice.config(), format!("{}\n{members}{more}", others.join("\n"))).unwrap();
}

fn works(status: &Value, name: &str) -> bool {
    let one = of(status, name);
    one["acker"] == true
        && one["reads"] == "serving"
        && status["guarantee"].as_str().is_some_and(|g| g.starts_with("every OK"))
}

#[tokio::test]
async fn a_member_is_added_empty_and_taken_out_by_protocol() {
    let accounts = accounts();
    let cluster = Cluster::builder().nodes(3).start().await.unwrap();
    cluster.setup_replication(0, &accounts).await.unwrap();
    emptied(&cluster, 2).await;
    let two = [instance(&cluster, 0), instance(&cluster, 1)].concat();
    let builder = SluiceProcess::builder(SLUICE).accounts(&accounts);
    let builder = builder.toml("[durability]\nwithout_acker = 'stall'\n").toml(&two);
    let sluice = builder.start(&cluster).await.unwrap();
    until(&sluice, "two members", |status| works(status, "db2")).await;
    let mut working = client(sluice.ports().split).await;
    working.query_drop("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    working.query_drop("START TRANSACTION").await.unwrap();
    working.query_drop("INSERT INTO app.t VALUES (1)").await.unwrap();

    // Added while a transaction is open: filled, attached, an acker at the end.
    write(&sluice, &cluster, &[0, 1, 2], "");
    let (said, done) = reload(&sluice);
    assert!(done && said.contains("[[instance]] db3: (none) -> 127.0.0.1:"), "{said}");
    assert!(said.contains("(in effect)"), "{said}");
    until(&sluice, "a third member", |status| works(status, "db3")).await;
    working.query_drop("COMMIT").await.unwrap();
    // Who asks for a replica takes it as it is.
    cluster.wait_caught_up(0).await.unwrap();
    let mut reader = client(sluice.ports().replica).await;
    assert_eq!(reader.query_first("SELECT COUNT(*) FROM app.t").await.unwrap(), Some(1));

    // Nobody who is counted on is simply dropped, and then nothing of the file holds.
    let good = std::fs::read_to_string(sluice.config()).unwrap();
    for (left, words) in [([1, 2], "sluice switchover"), ([0, 1], "sluice maintenance db3")] {
        write(&sluice, &cluster, &left, "[sessions]\nmax_connections = 1\n");
        let (said, done) = reload(&sluice);
        assert!(!done && said.contains(words), "{said}");
        assert_eq!(names(&status(&sluice).await), ["db1", "db2", "db3"]);
        drop(client(sluice.ports().split).await);
        std::fs::write(sluice.config(), &good).unwrap();
    }

    // As it was told; by a signal this time.
    assert!(verb(&sluice, &["maintenance", "db3"]).status.success());
    until(&sluice, "no acker any more", |status| of(status, "db3")["acker"] == false).await;
    write(&sluice, &cluster, &[0, 1], "");
    let hang_up = || kill_process(Pid::from_raw(sluice.pid().unwrap()).unwrap(), Signal::HUP).unwrap();
    hang_up();
    until(&sluice, "two members again", |status| names(status) == ["db1", "db2"]).await;
    let count = "SELECT COUNT(*) FROM app.t";
    assert_eq!(reader.query_first(count).await.unwrap(), Some(1), "nobody is dropped");
    working.query_drop("INSERT INTO app.t VALUES (2)").await.unwrap();
    let lock = "SELECT IS_USED_LOCK('sluice:test')";
    assert_eq!(cluster.node(2).value::<Option<u64>>(lock).await.unwrap(), None);

    // And back: the same server at another place.
    write(&sluice, &cluster, &[0, 1, 2], "");
    hang_up();
    until(&sluice, "three members again", |status| works(status, "db3")).await;
    let changed = verb(&sluice, &["switchover", "--to", "db3", "--wait", "60s"]);
    assert!(changed.status.success(), "{changed:?}");
    working.query_drop("INSERT INTO app.t VALUES (3)").await.unwrap();
    assert_eq!(cluster.node(2).value::<u32>(count).await.unwrap(), 3);
}
