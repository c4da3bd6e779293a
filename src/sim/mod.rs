//! The whole broker on seeded fakes: virtual time, a disk that forgets, clients that misbehave.

pub mod disk;
