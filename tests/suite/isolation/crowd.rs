//! Sessions that act all at once, each held to its own model.
//!
//! Never here: an operation on two sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::strategy::{Strategy as _, ValueTree as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::SESSIONS;
use super::actor::Actor;
use super::draws::{Draws, runner};
use super::ground::{Front, Ground};
use super::operations::{Op, Step, sequence};

/// Steps of each session.
const STEPS: usize = 200;
/// After so many steps tied to a connection a session lets go, for others to have their turn.
const LONGEST_HOLD: usize = 12;
/// Most lines of a failing session's trace that are shown.
const LAST_LINES: usize = 60;

/// Lets all sessions act at once, in rounds. What each does is drawn; who comes first is not.
pub(super) async fn play_at_once(ground: &Arc<Ground>, mut draws: Draws) {
    let played = Arc::new(AtomicU64::new(0));
    let mut rounds = 0;
    while let Some(seed) = draws.next() {
        let permits = Arc::new(Semaphore::new(ground.permits));
        let mut runner = runner(seed);
        let mut sessions = JoinSet::new();
        for slot in 0..SESSIONS {
            let steps = sequence(1, STEPS).new_tree(&mut runner).unwrap().current();
            let member = Member {
                ground: Arc::clone(ground),
                permits: Arc::clone(&permits),
                played: Arc::clone(&played),
                slot,
            };
            sessions.spawn(member.play(steps));
        }
        let finds: Vec<String> = sessions.join_all().await.into_iter().filter_map(Result::err).collect();
        if !finds.is_empty() {
            ground.stage.cluster.keep_logs();
            let (again, finds, count) = (draws.again(seed), finds.join("\n\n"), finds.len());
            panic!("round {rounds}: {count} of {SESSIONS} sessions are wrong\n{finds}\n{again}");
        }
        rounds += 1;
    }
    let steps = played.load(Ordering::Relaxed);
    println!("all at once: {rounds} rounds, {steps} steps in {:.1?}", draws.elapsed());
}

/// One session of the crowd.
struct Member {
    ground: Arc<Ground>,
    permits: Arc<Semaphore>,
    played: Arc<AtomicU64>,
    slot: usize,
}

impl Member {
    async fn play(self, steps: Vec<Step>) -> Result<(), String> {
        let mut actor = Actor::begin(&self.ground, Front::Sluice, self.slot).await?;
        let acted = self.act(&mut actor, steps).await;
        if let Err(why) = acted {
            let from = actor.trace.len().saturating_sub(LAST_LINES);
            return Err(format!("{why}\n{}", actor.trace[from..].join("\n")));
        }
        actor.client.quit().await.map_err(|broken| format!("COM_QUIT: {broken}"))
    }

    async fn act(&self, actor: &mut Actor, steps: Vec<Step>) -> Result<(), String> {
        let mut root = self.ground.root().await;
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut held = 0;
        for step in steps {
            let mut op = actor.model.sensible(step.op);
            if held >= LONGEST_HOLD {
                op = Op::Reset;
            } else if actor.model.wants(&op) && permit.is_none() {
                permit = Arc::clone(&self.permits).try_acquire_owned().ok();
                if permit.is_none() {
                    op = Op::Look;
                }
            }
            if matches!(op, Op::KillSleeping { .. } | Op::KillIdle { .. }) {
                op = Op::LookAside;
            }
            actor.act(&self.ground, &mut root, &op, step.then).await?;
            if actor.model.is_tied() {
                held += 1;
            } else {
                (permit, held) = (None, 0);
            }
            self.played.fetch_add(1, Ordering::Relaxed);
        }
        if permit.is_some() {
            actor.act(&self.ground, &mut root, &Op::Reset, None).await?;
        }
        drop(permit);
        actor.end(&self.ground, &mut root).await
    }
}
