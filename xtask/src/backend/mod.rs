//! Where services run. `native`: the real servers as supervised processes of the current user.

pub mod native;
