//! The pure decisions of the data path: what a statement is, what it leaves behind in a session, and
//! which instance may run it. Bytes, session facts and a topology value go in; a route with its reason
//! comes out. Same inputs, same answer.
//!
//! This room must never do I/O, read a clock (time is an argument) or know about connections.

pub mod decide;
pub mod effects;
mod explain;
pub mod freshness;
pub mod functions;
pub mod hint;
pub mod intent;
pub mod last_statement;
pub mod lexer;
pub mod pin;
pub mod prediction;
pub mod read_only;
pub mod session_facts;
pub mod topology;
pub mod variables;
pub mod vouched;

pub use decide::{Fallback, Freshness, Listener, Route, Situation, decide, passes_gate};
pub use effects::{Effect, Effects};
pub use hint::Wish;
pub use intent::{Intent, Statement, classify};
pub use lexer::LexMode;
pub use pin::PinReason;
pub use session_facts::{Outcome, SessionFacts};
pub use topology::{Instance, InstanceId, Reads, ReadsStopped, Topology};
