//! Stores snapshots in a folder or an object store: parts named by their content, and one index a snapshot, written last.
//!
//! A snapshot is in the store if, and only if, its index is: whatever breaks an upload off leaves parts that no index names.
//! Taking needs no key that opens anything. Knows nothing of what is drilled; the only room that talks to an object store.

/// Why a store or an object in it cannot be used.
pub mod access;
/// What a store's address says.
pub mod address;
/// How an object store is reached.
pub mod client;
/// What lies in a store: keys, the index of a snapshot, the store's own settings.
pub mod layout;
/// Which snapshots a store holds.
pub mod list;
/// Marks of what is under way.
mod mark;
/// The objects of a store: read, written, listed, removed.
pub mod objects;
/// Removing what retention does not keep.
pub mod prune;
/// Putting a snapshot into a store.
pub mod put;
/// Getting a snapshot back, and proving that it is whole.
pub mod read;
/// Which snapshots are kept. Pure.
pub mod retention;
/// Compressing, encrypting and naming one part.
pub mod sealing;
