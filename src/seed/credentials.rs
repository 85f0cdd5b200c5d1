//! What the services handed out while seeding, and the agents' keys: secrets, kept apart from the ledger.
//!
//! Never serialised, never printed. Checks use them to prove that credentials issued before a backup still work.

use crate::client::secret::Secret;
use crate::client::signing::KeyPair;
use std::collections::BTreeMap;

/// Secrets issued before the backup. `Debug` shows `<set>` for each.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Whose sessions these are.
    pub admin_email: String,
    /// An admin session that is alive.
    pub session: Secret,
    /// An operator's session that was revoked by a logout.
    pub revoked_session: Secret,
    /// The e-mail of the revoked session; its role is one assigned in the database.
    pub operator_email: String,
    /// The magic link that was used for the revoked session.
    pub used_magic_link: Secret,
    /// API key of each agent, by Beam id.
    pub api_keys: BTreeMap<String, Secret>,
    /// API key of each organisation that has a row of its own, by its name.
    pub org_keys: BTreeMap<String, Secret>,
    /// Signing key of each agent, by Beam id: the active one.
    pub keys: BTreeMap<String, KeyPair>,
    /// Signing keys that were replaced and must not be accepted any more, by Beam id.
    pub revoked_keys: BTreeMap<String, KeyPair>,
}

impl Credentials {
    /// Adds what a later round was handed out; single secrets are then the newest.
    pub(crate) fn extend(&mut self, more: Credentials) {
        let Credentials {
            api_keys,
            org_keys,
            keys,
            revoked_keys,
            ..
        } = std::mem::replace(self, more);
        self.api_keys.extend(api_keys);
        self.org_keys.extend(org_keys);
        self.keys.extend(keys);
        self.revoked_keys.extend(revoked_keys);
    }
}
