//! Sessions that take turns in an order that proptest draws: what fails shrinks to the few steps that matter.
//!
//! Never here: two statements under way at a time, but for the one that is killed.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use proptest::strategy::{Strategy as _, ValueTree as _};
use sluice_cluster::wait_until;
use tokio::runtime::Runtime;

use super::SESSIONS;
use super::actor::Actor;
use super::client::Answer;
use super::draws::{Draws, runner};
use super::ground::{Front, Ground, SOON};
use super::model::SLEEP;
use super::operations::{Op, Step, sequence};

/// Steps of one sequence, at most.
const STEPS: usize = 120;
/// Longest time to make a failing sequence shorter; each try costs as much as a sequence.
const SHRINKING: Duration = Duration::from_secs(40);

/// Draws and plays sequences; fails with what the shortest form of the first failing one sent and got.
pub(super) fn play_sequences(ground: &Ground, runtime: &Runtime, front: Front, mut draws: Draws) {
    let drawn = sequence(SESSIONS, STEPS);
    let (mut cases, mut played) = (0, 0);
    while let Some(seed) = draws.next() {
        let steps = drawn.new_tree(&mut runner(seed)).unwrap().current();
        (cases, played) = (cases + 1, played + steps.len());
        if let Err(found) = runtime.block_on(play(ground, front, &steps)) {
            let (steps, found) =
                shortened(steps, found, |steps| runtime.block_on(play(ground, front, steps)));
            let shown: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
            ground.stage.cluster.keep_logs();
            let (shown, again) = (shown.join("\n"), draws.again(seed));
            panic!("sequence {cases}, after {played} steps: {found}\nshortest:\n{shown}\n{again}");
        }
    }
    println!("{front:?}: {cases} sequences, {played} steps in {:.1?}", draws.elapsed());
}

/// Takes parts out of a failing sequence for as long as it still fails: ever smaller ones, from the end.
fn shortened(
    mut steps: Vec<Step>,
    mut found: String,
    mut play: impl FnMut(&[Step]) -> Result<(), String>,
) -> (Vec<Step>, String) {
    let until = Instant::now() + SHRINKING;
    let mut part = steps.len() / 2;
    while part > 0 && Instant::now() < until {
        let mut end = steps.len();
        while end > 0 && Instant::now() < until {
            let begin = end.saturating_sub(part);
            let rest = [&steps[..begin], &steps[end..]].concat();
            if let Err(again) = play(&rest) {
                (steps, found) = (rest, again);
            }
            end = begin;
        }
        part /= 2;
    }
    (steps, found)
}

async fn play(ground: &Ground, front: Front, steps: &[Step]) -> Result<(), String> {
    let mut root = ground.root().await;
    let mut actors = Vec::with_capacity(SESSIONS);
    for slot in 0..SESSIONS {
        actors.push(Actor::begin(ground, front, slot).await?);
    }
    let mut trace = Vec::new();
    let played = play_steps(ground, &mut root, &mut actors, steps, &mut trace).await;
    for actor in &mut actors {
        trace.append(&mut actor.trace);
    }
    for actor in actors {
        let _ = actor.client.quit().await;
    }
    played.map_err(|why| format!("{why}\n{}", trace.join("\n")))
}

async fn play_steps(
    ground: &Ground,
    root: &mut Conn,
    actors: &mut [Actor],
    steps: &[Step],
    trace: &mut Vec<String>,
) -> Result<(), String> {
    for step in steps {
        let op = actors[step.session].model.sensible(step.op.clone());
        make_room(ground, root, actors, step.session, &op).await?;
        let acted = match op {
            Op::KillSleeping { victim } if victim != step.session => {
                kill_sleeping(ground, root, actors, step.session, victim).await
            }
            Op::KillIdle { victim } if victim != step.session => {
                kill_idle(actors, step.session, victim).await
            }
            Op::KillSleeping { .. } | Op::KillIdle { .. } => Ok(()),
            ref op => actors[step.session].act(ground, root, op, step.then).await,
        };
        for actor in actors.iter_mut() {
            trace.append(&mut actor.trace);
        }
        acted?;
    }
    for slot in 0..actors.len() {
        make_room(ground, root, actors, slot, &Op::LookAside).await?;
        if let Err(why) = actors[slot].end(ground, root).await {
            trace.append(&mut actors[slot].trace);
            return Err(why);
        }
        actors[slot].trace.clear();
    }
    Ok(())
}

/// Resets other sessions where this one might be one too many of those that keep a connection for themselves.
async fn make_room(
    ground: &Ground,
    root: &mut Conn,
    actors: &mut [Actor],
    session: usize,
    op: &Op,
) -> Result<(), String> {
    if actors[session].model.is_tied() || !actors[session].model.wants(op) {
        return Ok(());
    }
    loop {
        let others = (0..actors.len()).filter(|&slot| slot != session);
        let holding: Vec<usize> = others.filter(|&slot| actors[slot].model.is_tied()).collect();
        let Some(&evicted) = holding.first().filter(|_| holding.len() >= ground.permits) else {
            return Ok(());
        };
        // After its reset it holds nothing, so this ends.
        actors[evicted].act(ground, root, &Op::Reset, None).await?;
    }
}

/// KILL QUERY of a sleeping session ends the nap and nothing else; another account's session is out of reach.
async fn kill_sleeping(
    ground: &Ground,
    root: &mut Conn,
    actors: &mut [Actor],
    killer: usize,
    victim: usize,
) -> Result<(), String> {
    if actors[killer].model.account != actors[victim].model.account {
        return kill_idle(actors, killer, victim).await;
    }
    actors[victim].ask_pending().await?;
    actors[killer].ask_pending().await?;
    let (nap, id) = (actors[victim].model.nap(), actors[victim].client.id());
    actors[victim].note(&nap);
    actors[victim].client.send_query(&nap).await.map_err(|e| e.to_string())?;
    asleep(ground, root, &nap).await?;
    let began = Instant::now();
    actors[killer].note(&format!("KILL QUERY {id}"));
    let killed = actors[killer].client.one(&format!("KILL QUERY {id}")).await.map_err(|e| e.to_string())?;
    actors[killer].model.killed(&killed, true).map_err(|why| format!("session {killer} kills: {why}"))?;
    let woken = actors[victim].client.answers().await.map_err(|e| e.to_string())?;
    actors[victim].note(&format!("  -> {woken:?}"));
    if began.elapsed().as_secs() >= SLEEP / 2 {
        return Err(format!("session {victim} slept on"));
    }
    let [woken] = &woken[..] else { return Err(format!("one result was due, came {woken:?}")) };
    actors[victim].model.settle_sleep(woken).map_err(|why| format!("session {victim} asleep: {why}"))
}

/// Waits until some server runs the nap.
async fn asleep(ground: &Ground, root: &mut Conn, nap: &str) -> Result<(), String> {
    let sql = format!(
        "SELECT COUNT(*) FROM performance_schema.processlist WHERE info = '{}'",
        nap.replace('\'', "''")
    );
    let root = tokio::sync::Mutex::new(root);
    let condition = || async {
        let mut found = root.lock().await.query_first::<u64, _>(&sql).await.unwrap().unwrap_or(0);
        for node in ground.stage.cluster.nodes().iter().skip(1) {
            found += node.value::<u64>(&sql).await.unwrap();
        }
        found > 0
    };
    wait_until("the nap has begun", SOON, condition).await.map_err(|error| error.to_string())
}

/// KILL QUERY of a session that does nothing has no effect, on it or on anybody else.
async fn kill_idle(actors: &mut [Actor], killer: usize, victim: usize) -> Result<(), String> {
    actors[killer].ask_pending().await?;
    let id = actors[victim].client.id();
    let own = actors[killer].model.account == actors[victim].model.account;
    actors[killer].note(&format!("KILL QUERY {id}"));
    let answer: Answer =
        actors[killer].client.one(&format!("KILL QUERY {id}")).await.map_err(|e| e.to_string())?;
    actors[killer].model.killed(&answer, own).map_err(|why| format!("session {killer} kills: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_taken_out() {
        let step = |session| Step { session, op: Op::Look, then: None };
        let steps: Vec<Step> = (0..50).map(step).collect();
        let fails = |steps: &[Step]| {
            let both = [7, 31].iter().all(|wanted| steps.iter().any(|step| step.session == *wanted));
            if both { Err(steps.len().to_string()) } else { Ok(()) }
        };
        let (steps, found) = shortened(steps, String::new(), fails);
        assert_eq!(steps.iter().map(|step| step.session).collect::<Vec<_>>(), [7, 31]);
        assert_eq!(found, "2");
    }
}
