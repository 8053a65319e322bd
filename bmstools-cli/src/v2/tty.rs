//! The terminal of `exec --tty`.
//!
//! Signatures first.
