//! Files over sessions.
