//! Rules held against records that were altered by hand.
