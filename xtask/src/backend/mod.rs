//! Where services run. `native`: the real servers as supervised processes of the current user. `compose`: containers, by Docker Compose.

pub mod compose;
pub mod native;
