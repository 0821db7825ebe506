//! Measurements side by side: a direct connection, Sluice, and peers, with the same servers and load.
//!
//! Never here: code that Sluice itself runs.
