//! The pure decisions of the data path: what a statement is, what it leaves behind in a session, and
//! which instance may run it. Bytes, session facts and a topology value go in; a route with its reason
//! comes out. Same inputs, same answer.
//!
//! This room must never do I/O, read a clock (time is an argument) or know about connections.

pub mod decide;
pub mod topology;
