//! The procedures an operator rehearses, each a plain async function over a [`context::DrillContext`].

/// Pairs of instances and how they are launched.
pub mod instances;

/// Clock, seed, folders, secrets, evidence of one run.
pub mod context;
