//! Running cases at one place: directly on the primary, or through Sluice.
//!
//! Never here: comparing two places.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_protocol::Capabilities;
use tokio::task::JoinSet;

use super::client::{Client, Who};
use super::decode::Fields;
use super::script::{Account, Case, Compare, Step, Variant, step};

/// Cases at once. Two for each of the writers' accounts, so that cases share accounts, and connections.
const BESIDE: usize = 4;
/// Schema of the fixture that readers read.
pub(super) const FIXTURE: &str = "difread";
/// Sessions of the scene itself.
const ADMIN: &str = "admin";

/// One case with one client.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) case: Arc<Case>,
    pub(super) variant: Variant,
    /// Place among all jobs; names its schema.
    pub(super) number: usize,
}

/// Every case with each of its clients.
pub(super) fn jobs(cases: Vec<Case>) -> Vec<Job> {
    let mut jobs = Vec::new();
    for case in cases {
        let case = Arc::new(case);
        for variant in &case.variants {
            jobs.push(Job { case: Arc::clone(&case), variant: *variant, number: jobs.len() });
        }
    }
    jobs
}

/// Where cases run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) clients: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Sets the schemas of this pass apart.
    pub(super) letter: char,
}

/// What one line of a case showed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) fields: Fields,
    /// The line should have failed and did not, or the other way round; or the scene could not be set.
    pub(super) wrong: bool,
}

impl Place {
    fn schema(&self, job: &Job) -> String {
        match job.case.account {
            Account::Reader => FIXTURE.to_owned(),
            Account::Writer | Account::Admin => format!("dif{:04}{}", job.number, self.letter),
        }
    }

    fn other(&self, job: &Job) -> String {
        format!("oth{:04}{}", job.number, self.letter)
    }

    pub(super) async fn admin(&self) -> Client {
        let who = Who {
            address: self.admin,
            user: account_name(Account::Admin, 0),
            schema: String::new(),
            capabilities: Capabilities::MULTI_STATEMENTS | Capabilities::MULTI_RESULTS,
        };
        let mut seen = Fields::default();
        Client::connect(&who, &mut seen).await.unwrap_or_else(|| panic!("the admin can't log in: {seen:?}"))
    }

    /// Makes the schemas of these jobs.
    pub(super) async fn prepare(&self, jobs: &[Job]) {
        let mut admin = self.admin().await;
        for job in jobs.iter().filter(|job| job.case.account != Account::Reader) {
            let mut statements = vec![format!("CREATE DATABASE {}", self.schema(job))];
            if job.case.lines.iter().any(|line| line.contains("{other}")) {
                statements.push(format!("CREATE DATABASE {}", self.other(job)));
            }
            for sql in statements {
                let mut seen = Fields::default();
                let action = super::script::Action::Query { sql, attributes: Vec::new() };
                admin.act(&action, &mut seen).await;
                assert!(seen.get("error").is_none(), "{action:?}: {seen:?}");
            }
        }
    }

    /// Runs every job; what each showed, in the order of `jobs`.
    pub(super) async fn run(&self, jobs: &[Job]) -> Vec<Vec<Seen>> {
        let (together, alone): (Vec<_>, Vec<_>) = jobs.iter().cloned().partition(|job| !job.case.alone);
        let together: Arc<[Job]> = together.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut runners = JoinSet::new();
        for _ in 0..BESIDE {
            let (place, jobs, next) = (*self, Arc::clone(&together), Arc::clone(&next));
            runners.spawn(async move {
                let mut seen = Vec::new();
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    seen.push((job.number, place.run_job(job).await));
                }
                seen
            });
        }
        let mut all: BTreeMap<usize, Vec<Seen>> = runners.join_all().await.into_iter().flatten().collect();
        for job in &alone {
            all.insert(job.number, self.run_job(job).await);
        }
        all.into_values().collect()
    }

    async fn run_job(&self, job: &Job) -> Vec<Seen> {
        let mut stage = Stage { place: self, job, sessions: BTreeMap::new(), ids: Vec::new() };
        let mut all = Vec::new();
        for line in &job.case.lines {
            stage.run_line(line, &mut all).await;
        }
        for seen in &mut all {
            for (_, value) in &mut seen.fields.0 {
                *value = stage.neutral(value);
            }
        }
        all
    }
}

/// The name of an account.
pub(super) fn account_name(account: Account, number: usize) -> String {
    match account {
        Account::Writer => if number.is_multiple_of(2) { "diffa" } else { "diffb" }.to_owned(),
        Account::Reader => "diffr".to_owned(),
        Account::Admin => "diffz".to_owned(),
    }
}

/// A case while it runs.
struct Stage<'a> {
    place: &'a Place,
    job: &'a Job,
    /// `None`: it has ended.
    sessions: BTreeMap<String, Option<Client>>,
    ids: Vec<(String, u32)>,
}

impl Stage<'_> {
    async fn run_line(&mut self, line: &str, all: &mut Vec<Seen>) {
        // Sessions that are named have to be there for their ids.
        let name = line.split([' ', ':']).next().unwrap_or_default().to_owned();
        self.log_in(&name, all).await;
        let filled = self.fill(line);
        let step = step(&filled).unwrap_or_else(|| panic!("{}: {filled:?}?", self.job.case.name));
        let mut fields = Fields::default();
        match self.sessions.get_mut(&name) {
            Some(Some(client)) => {
                if !client.act(&step.action, &mut fields).await {
                    self.sessions.insert(name, None);
                }
            }
            Some(None) | None => fields.put("", "end", "not connected"),
        }
        all.push(judged(line, &step, fields));
    }

    async fn log_in(&mut self, name: &str, all: &mut Vec<Seen>) {
        if self.sessions.contains_key(name) {
            return;
        }
        let job = self.job;
        let admin = name == ADMIN;
        let who = Who {
            address: if admin { self.place.admin } else { self.place.clients },
            user: account_name(if admin { Account::Admin } else { job.case.account }, job.number),
            schema: self.place.schema(job),
            capabilities: job.variant.capabilities,
        };
        let mut fields = Fields::default();
        let client = Client::connect(&who, &mut fields).await;
        if let Some(client) = &client {
            self.ids.push((name.to_owned(), client.id()));
        }
        let wrong = client.is_none();
        self.sessions.insert(name.to_owned(), client);
        all.push(Seen { line: format!("{name} logs in"), fields, wrong });
    }

    /// `{schema}`, `{other}`, `{user}`, `{id:SESSION}` and `{repeat:TEXT:TIMES}` filled in.
    fn fill(&self, line: &str) -> String {
        let mut line = line
            .replace("{schema}", &self.place.schema(self.job))
            .replace("{other}", &self.place.other(self.job))
            .replace("{user}", &account_name(self.job.case.account, self.job.number));
        for (name, id) in &self.ids {
            line = line.replace(&format!("{{id:{name}}}"), &id.to_string());
        }
        while let Some(begin) = line.find("{repeat:") {
            let end = begin + line[begin..].find('}').expect("a repeat ends");
            let (text, times) = line[begin + 8..end].rsplit_once(':').expect("a repeat says how often");
            let repeated = text.repeat(times.parse().expect("a number of times"));
            line.replace_range(begin..=end, &repeated);
        }
        line
    }

    /// Without what differs by nature: the letter of the pass in schemas, and ids where the case is about them.
    fn neutral(&self, value: &str) -> String {
        let mut value = value.to_owned();
        for schema in [self.place.schema(self.job), self.place.other(self.job)] {
            if schema != FIXTURE {
                value = value.replace(&schema, &schema[..schema.len() - 1]);
            }
        }
        if self.job.case.ids {
            for (name, id) in &self.ids {
                value = value.replace(&id.to_string(), &format!("<id of {name}>"));
            }
        }
        value
    }
}

fn judged(line: &str, step: &Step, mut fields: Fields) -> Seen {
    let failed = fields.0.iter().any(|(name, _)| name.ends_with("error") || name == "end");
    let vain = fields.get("awaited in vain").is_some();
    match step.compare {
        Compare::All => {}
        Compare::Shape => fields.0.retain(|(name, _)| {
            !["rows", "row count", "message", "answer"].iter().any(|part| name.ends_with(part))
        }),
        Compare::Nothing => fields.0.retain(|(name, _)| failed && name.ends_with("error") || vain),
    }
    Seen { line: line.to_owned(), fields, wrong: vain || failed != step.fails }
}
