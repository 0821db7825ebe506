#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt;

use super::*;

const GOOD: &str = r#"
[cluster]
name = "shop"
store = "file:///var/lib/sluice/shop"

[[instance]]
name = "db1"
address = "10.0.0.1:3306"

[[instance]]
name = "db2"
address = "10.0.0.2:3306"
promotion = "prefer-not"

[[instance]]
name = "db3"
address = "10.0.0.3:3306"
acker = false

[accounts.control]
user = "sluice"
password = "c"
[accounts.replication]
user = "repl"
password = "r"

[listen]
split = "127.0.0.1:6033"
"#;

fn parse_text(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("/"))
}

fn problems(text: &str) -> Vec<String> {
    parse_text(text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The one problem of the good file after `from` was replaced by `to`.
#[track_caller]
fn one_problem(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    let mut found = problems(&GOOD.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_short_file_gets_the_defaults() {
    let config = parse_text(GOOD).unwrap();
    assert_eq!(config.cluster.store, Path::new("/var/lib/sluice/shop"));
    assert_eq!(config.instances.len(), 3);
    assert_eq!(config.instances[1].promotion, Promotion::PreferNot);
    assert!(config.instances[1].acker && !config.instances[2].acker);
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:3380");
    assert!(config.listen.workers >= 1);
    assert_eq!(config.login.deny_users, ["root"]);
    assert_eq!(config.switchover.hold, Duration::from_secs(10));
    assert_eq!(config.durability.wait_count(3), 1);
    assert_eq!(config.durability.wait_count(5), 2);
    assert!(config.accounts.clone.is_none());
    assert!(!format!("{config:?}").contains("password: \"c\""));
}

#[test]
fn five_mistakes_are_five_problems_with_their_lines() {
    let text = GOOD
        .replace("name = \"shop\"", "nmae = \"shop\"")
        .replace("10.0.0.2:3306", "10.0.0.1:3306")
        .replace("acker = false", "acker = \"no\"")
        .replace("split = \"127.0.0.1:6033\"", "split = \"6033\"\nworkers = -1");
    let found = problems(&text);
    let expected = [
        "line 2: [cluster] name is missing",
        "line 3: unknown key \"nmae\" in [cluster]; did you mean \"name\"?",
        "line 10: [[instance]] address: \"10.0.0.1:3306\" is already the address of db1",
        "line 18: [[instance]] acker: expected true or false, found string",
        "line 27: [listen] needs at least one of",
        "line 28: [listen] split: \"6033\" is not IP:port",
        "line 29: [listen] workers: must be from 0 to 512",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} / {expected}");
    }
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let found = problems("").join("\n");
    for part in [
        "[cluster] name",
        "[cluster] store",
        "no [[instance]]",
        "[accounts.control]",
        "[accounts.replication]",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
}

#[test]
fn broken_toml_has_its_line() {
    assert!(problems("[cluster]\nname = \n")[0].starts_with("line 2: "));
    assert!(problems("name = \"a\"\nname = \"b\"\n")[0].starts_with("line 2: "));
    let functions = problems("[sessions]\nharmless_functions = [\"shop.f\", \"f\"]\n").join("\n");
    assert!(functions.contains("\"f\" is not of the form \"schema.function\""), "{functions}");
    assert!(!functions.contains("shop.f"), "{functions}");
}

#[test]
fn single_mistakes() {
    let cases = [
        ("10.0.0.1:3306", "10.0.0.1", "is not host:port"),
        ("name = \"db2\"", "name = \"DB1\"", "already the name of db1"),
        ("file:///var", "/var", "must be file://"),
        ("file:///var", "etcd://var", "not supported yet in this version"),
        ("password = \"c\"", "password = \"c\"\npassword_env = \"X\"", "only one of"),
        ("password = \"c\"", "", "give one of password"),
        ("password = \"c\"", "password_env = \"SLUICE_SURELY_UNSET\"", "is not set"),
        ("password = \"c\"", "password_file = \"/nowhere\"", "can't read /nowhere"),
        ("[listen]", "[listen]\nadmin = \"0.0.0.0:3380\"", "beyond loopback it needs [admin] token_file"),
        ("[listen]", "[listen]\nhealth = \"0.0.0.0:6033\"", "already taken by split"),
        ("127.0.0.1:6033", "10.0.0.1:3306", "is Sluice's own [listen] split"),
        ("[listen]", "[switchover]\ndrain = 2\n[listen]", "expected a duration in quotes"),
        ("[listen]", "[switchover]\ndrain = \"2 apples\"\n[listen]", "is not a duration"),
        ("[listen]", "[switchover]\ndrain = \"10s\"\n[listen]", "drain must be shorter than hold"),
        ("[listen]", "[switchover]\non_leftover = \"kil\"\n[listen]", "did you mean \"kill\"?"),
        ("[listen]", "[durability]\nacks = 2\n[listen]", "wait for 2 of 1 ackers"),
        ("[listen]", "[durability]\nacks = 0\n[listen]", "only for a single instance"),
        ("[listen]", "[tls.client]\ncert = \"/dev/null\"\n[listen]", "a certificate needs its key"),
        ("[listen]", "[tls.instance]\nmode = \"verify-ca\"\n[listen]", "needs a CA file"),
        ("[listen]", "[tls.client]\nmode = \"verify-ca\"\n[listen]", "needs a CA file"),
        ("[listen]", "[tls.client]\nca = \"/dev/null\"\n[listen]", "no effect unless mode is verify-ca"),
        ("[listen]", "[login]\nproxy_protocol_from = [\"10.0.0.1/8\"]\n[listen]", "10.0.0.0/8"),
        ("[listen]", "[login]\nallow = [{ user = \"app\" }]\n[listen]", "from is missing"),
        ("[listen]", "[login]\nallow = [{ from = [\"::/0\"] }]\n[listen]", "user is missing"),
        ("[listen]", "[login]\nallow = [{ user = \"a\", from = [\"x\"] }]\n[listen]", "no network"),
        ("[listen]", "[listn]\n[listen]", "unknown key \"listn\"; did you mean \"listen\"?"),
    ];
    for (from, to, expected) in cases {
        let found = one_problem(from, to);
        assert!(found.contains(expected), "{found} / {expected}");
    }
}

#[test]
fn what_later_versions_understand_is_refused_now() {
    let built = "[login]\nretention = \"none\"\nproxy_protocol_from = [\"10.0.0.0/8\", \"::1\"]\n\
                 allow = [{ user = \"app\", from = [\"10.0.0.0/8\"] }]\n[listen]";
    let login = parse_text(&GOOD.replace("[listen]", built)).unwrap().login;
    assert_eq!((login.proxy_protocol_from.len(), login.allow[0].from.len()), (2, 1));
    let defaults = "[sessions]\npooling = \"transaction\"\nfreshness = \"user\"\n[login]\nallow = []\n\
                    retention = \"memory\"\nproxy_protocol_from = []\n[failover]\nstall = \"30s\"\n[listen]";
    assert!(parse_text(&GOOD.replace("[listen]", defaults)).is_ok());
}

#[test]
fn writes_may_go_on_without_an_acker_for_a_time() {
    let read = |text: &str| {
        let text = GOOD.replace("[listen]", &format!("[durability]\n{text}\n[listen]"));
        parse_text(&text).unwrap().durability.without_acker
    };
    let allowance = |after: u64, longest: u64| {
        let (after, longest) = (Duration::from_secs(after), Duration::from_secs(longest));
        WithoutAcker::Continue(Allowance { after, longest })
    };
    assert_eq!(read("acks = 1"), WithoutAcker::Stall);
    assert_eq!(read("without_acker = \"continue\""), allowance(30, 3600));
    let chosen = "without_acker = \"continue\"\ncontinue_after = \"5s\"\ncontinue_for = \"2h\"";
    assert_eq!(read(chosen), allowance(5, 7200));
    for (wrong, expected) in [
        ("continue_after = \"5s\"", "no effect unless without_acker is \"continue\""),
        (
            "without_acker = \"stall\"\ncontinue_for = \"5m\"",
            "no effect unless without_acker is \"continue\"",
        ),
        ("without_acker = \"continue\"\ncontinue_for = \"5s\"", "must be from 10s to 7days"),
        ("without_acker = \"continue\"\ncontinue_after = \"0s\"", "must be from 1s to 1h"),
        ("without_acker = \"go on\"", "continue"),
    ] {
        let found = one_problem("[listen]", &format!("[durability]\n{wrong}\n[listen]"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn two_instances_have_to_choose() {
    let start = GOOD.find("[[instance]]\nname = \"db3\"").unwrap();
    let end = GOOD.find("[accounts.control]").unwrap();
    let two = format!("{}{}", &GOOD[..start], &GOOD[end..]);
    assert!(problems(&two)[0].contains("you have to choose"), "{:?}", problems(&two));
    assert!(parse_text(&format!("{two}[durability]\nwithout_acker = \"stall\"\n")).is_ok());
}

#[test]
fn files_with_secrets_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let open = write("open.toml", GOOD, 0o644);
    let found = Config::load(&open).unwrap_err();
    assert!(found[0].message.contains("everybody can read it"), "{found:?}");
    assert_eq!(found[0].line, Some(22));
    assert!(Config::load(&write("closed.toml", GOOD, 0o640)).is_ok());

    write("pw", "secret\n", 0o644);
    let by_file = GOOD
        .replace("password = \"c\"", "password_file = \"pw\"")
        .replace("password = \"r\"", "password_file = \"pw\"");
    let path = write("by-file.toml", &by_file, 0o644);
    assert_eq!(Config::load(&path).unwrap_err().len(), 2);
    write("pw", "secret\n", 0o600);
    assert_eq!(Config::load(&path).unwrap().accounts.control.password.read().as_str(), "secret");
    let missing = Config::load(&folder.path().join("none.toml")).unwrap_err();
    assert!(missing[0].to_string().contains("can't read"));
}

#[test]
fn the_environment_can_hold_a_password() {
    let text = GOOD.replace("password = \"c\"", "password_env = \"PW\"");
    let environment = |name: &str| (name == "PW").then(|| "from the environment".to_owned());
    let surroundings = Surroundings { base_dir: Path::new("/"), environment: &environment };
    let config = parse(&text, surroundings).0.unwrap();
    assert_eq!(config.accounts.control.password.read().as_str(), "from the environment");
}

#[test]
fn no_cut_of_the_file_panics() {
    for end in 0..GOOD.len() {
        if let Some(text) = GOOD.get(..end) {
            let _ = parse_text(text);
        }
    }
}

#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let config = parse_text(text).unwrap();
    assert_eq!(config.instances.len(), 3);
}

#[test]
fn differences_name_settings_and_hide_secrets() {
    let now = parse_text(GOOD).unwrap();
    assert_eq!(differences(&now, &parse_text(GOOD).unwrap()), []);
    let text = GOOD
        .replace("password = \"c\"", "password = \"surely secret\"")
        .replace("10.0.0.2", "10.0.0.9")
        .replace("[listen]", "[login]\nmax_age = \"30s\"\n[sessions]\nmax_connections = 7\n[listen]");
    let file = parse_text(&text).unwrap();
    let found = differences(&now, &file);
    let find = |setting: &str| found.iter().find(|difference| difference.setting == setting).unwrap();
    let age = find("[login] max_age");
    assert_eq!((&*age.from, &*age.to, age.takes_effect), ("1m", "30s", TakesEffect::Now));
    assert_eq!(find("[[instance]] db2").takes_effect, TakesEffect::AtRestart);
    assert_eq!(find("[accounts.control] password").to, "(secret)");
    assert!(!format!("{found:?}").contains("surely secret"));
    assert_eq!(found.len(), 4, "{found:?}");

    let mut running = now.clone();
    running.take_over(&file);
    assert_eq!(now.accounts.control.password.read().as_str(), "surely secret", "clones share it");
    let left = differences(&running, &file);
    assert!(left.iter().all(|difference| difference.takes_effect == TakesEffect::AtRestart), "{left:?}");
    assert_eq!(left.len(), 1);
}
