//! Who takes part: organisations and agents with names and keys, all from the seed number.
//!
//! Pure: the same number gives the same cast, so that the bus's identity file can be written before anything runs. No
//! organisation is called `demo` or `test`: Beam treats those names in its own way (contract 3.1, 4.3).

use crate::client::signing::KeyPair;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// What an agent is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Sends most of what is sent.
    Procurement,
    /// Unlisted service account.
    Operations,
    /// Changes its key; the old one is revoked.
    Courier,
    /// The bus holds no key of it: its messages end as dead letters.
    Ghost,
    /// Answers on the WebSocket.
    Finance,
    /// Never connects: what is sent to it fails or is queued.
    Desk,
    /// Unlisted, of the partner.
    Archive,
    /// Has a shield configuration.
    Buyer,
    /// A second voice of the third organisation.
    Planner,
    /// Belongs to no organisation.
    Personal,
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it is there for.
    pub part: Part,
    /// `name@org.beam.directory`.
    pub beam_id: String,
    /// Name of its organisation; `personal` for a personal id.
    pub org: String,
    /// Shown name, with letters beyond ASCII.
    pub display_name: String,
    /// What it does.
    pub description: String,
    /// Intent types that it handles.
    pub capabilities: &'static [&'static str],
    /// Self-declared verification.
    pub tier: &'static str,
    /// Whether it is in the public listing.
    pub visibility: &'static str,
    /// The key that it has when the seed is done.
    pub key: KeyPair,
    /// The key that it registers with, where that is another one.
    pub first_key: Option<KeyPair>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its label in Beam ids.
    pub name: String,
    /// Its full name.
    pub display_name: String,
}

/// Everybody.
#[derive(Debug, Clone)]
pub struct Cast {
    /// What names derive from that stand for no organisation or agent: the seed number, in a later round with its number.
    pub label: String,
    /// Three organisations: the customer, its partner, a third.
    pub orgs: [Org; 3],
    /// Ten agents, in the order of [`Part`].
    pub members: Vec<Member>,
}

type Role = (
    Part,
    usize,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const PERSONAL: usize = 3;
const ROLES: [Role; 10] = [
    (
        Part::Procurement,
        0,
        "procurement",
        "Einkauf & Verträge",
        &["conversation.message", "quote.request"],
        "business",
        "public",
    ),
    (
        Part::Operations,
        0,
        "operations",
        "Betrieb – Nachtschicht",
        &["agent.ping", "escalation.request"],
        "basic",
        "unlisted",
    ),
    (
        Part::Courier,
        0,
        "courier",
        "Kurýrní služba Łódź",
        &["inventory.check"],
        "verified",
        "public",
    ),
    (
        Part::Ghost,
        0,
        "ghost",
        "Fantôme sans clé",
        &["conversation.message"],
        "verified",
        "public",
    ),
    (
        Part::Finance,
        1,
        "finance",
        "財務部 Finance",
        &["conversation.message", "purchase.preflight", "quote.request"],
        "verified",
        "public",
    ),
    (
        Part::Desk,
        1,
        "desk",
        "Réception",
        &["conversation.message"],
        "business",
        "public",
    ),
    (Part::Archive, 1, "archive", "Архив", &[], "basic", "unlisted"),
    (
        Part::Buyer,
        2,
        "buyer",
        "Añelo Compras 🛒",
        &["quote.request", "task.delegate"],
        "enterprise",
        "public",
    ),
    (
        Part::Planner,
        2,
        "planner",
        "Ütemező",
        &["task.delegate"],
        "verified",
        "public",
    ),
    (
        Part::Personal,
        PERSONAL,
        "",
        "Zoë Ångström",
        &["conversation.message"],
        "basic",
        "public",
    ),
];

const ORG_NAMES: [(&str, &str); 9] = [
    ("northwind", "Northwind Händler GmbH"),
    ("globex", "Globex S.à r.l."),
    ("initech", "Initech Sp. z o.o."),
    ("umbra", "Umbra Optik AG"),
    ("contoso", "Contoso Ltd."),
    ("acme", "ACME Großhandel KG"),
    ("tailspin", "Tailspin Toys K.K."),
    ("fabrikam", "Fabrikam A/S"),
    ("wingtip", "Wingtip Ñandú S.A."),
];
const FIRST_NAMES: [&str; 6] = ["zoe", "mirek", "aylin", "tomas", "ines", "joris"];

impl Cast {
    /// The cast of a seed number's first round.
    #[must_use]
    pub fn new(seed: u64) -> Cast {
        Cast::of_round(seed, 0)
    }

    /// The cast of a round, counted from 0: no name, id or key of it is another round's.
    #[must_use]
    pub fn of_round(seed: u64, round: u32) -> Cast {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(round.into());
        let ending = if round == 0 {
            String::new()
        } else {
            format!("-r{round}")
        };
        let mut names = ORG_NAMES.to_vec();
        let orgs = [(); 3].map(|()| {
            let (name, display_name) = names.remove(below(&mut random, names.len()));
            Org {
                name: format!("{name}{ending}"),
                display_name: format!("{display_name}{ending}"),
            }
        });
        let members = ROLES
            .iter()
            .map(|role| member(role, &orgs, &ending, &mut random))
            .collect();
        Cast {
            label: format!("{seed}{ending}"),
            orgs,
            members,
        }
    }

    /// The agent with that part.
    #[must_use]
    pub fn member(&self, part: Part) -> &Member {
        &self.members[part as usize]
    }

    /// The agents whose key the bus holds, so that what they send is delivered.
    pub fn signers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.part != Part::Ghost)
    }
}

/// The bus's identity file for a seed number and its rounds: the keys of all agents but one a round, whose messages become
/// dead letters.
///
/// It holds private keys: write it with mode 0600, before the bus starts.
#[must_use]
pub fn identities(seed: u64, rounds: u32) -> Value {
    let casts: Vec<Cast> = (0..rounds).map(|round| Cast::of_round(seed, round)).collect();
    let file: Map<String, Value> = casts
        .iter()
        .flat_map(Cast::signers)
        .map(|member| {
            let identity = json!({
                "beamId": member.beam_id,
                "publicKeyBase64": member.key.public(),
                "privateKeyBase64": member.key.private(),
            });
            (member.beam_id.clone(), identity)
        })
        .collect();
    Value::Object(file)
}

fn member(role: &Role, orgs: &[Org; 3], ending: &str, random: &mut ChaCha8Rng) -> Member {
    let &(part, org, name, title, capabilities, tier, visibility) = role;
    let (beam_id, org) = if org == PERSONAL {
        let first = FIRST_NAMES[below(random, FIRST_NAMES.len())];
        let number = below(random, 90) + 10;
        (format!("{first}{number}{ending}@beam.directory"), "personal".to_owned())
    } else {
        let org = &orgs[org].name;
        (format!("{name}@{org}.beam.directory"), org.clone())
    };
    let key = key_pair(random);
    let first_key = key_pair(random);
    Member {
        part,
        display_name: format!("{title} ({org})"),
        description: format!("{title}: drill agent {}", below(random, 9_000) + 1_000),
        beam_id,
        org,
        capabilities,
        tier,
        visibility,
        key,
        first_key: (part == Part::Courier).then_some(first_key),
    }
}

fn key_pair(random: &mut ChaCha8Rng) -> KeyPair {
    let mut secret = [0; 32];
    random.fill_bytes(&mut secret);
    KeyPair::from_bytes(&secret)
}

/// A number from 0 up to below `limit`; the small bias does not matter for names.
pub(crate) fn below(random: &mut ChaCha8Rng, limit: usize) -> usize {
    random.next_u32() as usize % limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_number_gives_the_same_keys() {
        assert_eq!(identities(7, 2), identities(7, 2));
        assert_ne!(identities(7, 2), identities(8, 2));
    }

    #[test]
    fn one_agent_is_missing_from_the_identity_file() {
        let cast = Cast::new(1);
        let file = identities(1, 1);
        let missing: Vec<Part> = cast
            .members
            .iter()
            .filter(|member| file.get(&member.beam_id).is_none())
            .map(|member| member.part)
            .collect();
        assert_eq!(missing, [Part::Ghost]);
    }

    #[test]
    fn rounds_share_no_name_id_or_key() {
        for seed in 0..20 {
            let casts: Vec<Cast> = (0..10).map(|round| Cast::of_round(seed, round)).collect();
            let all = |of: fn(&Cast) -> Vec<String>| casts.iter().flat_map(of).collect::<BTreeSet<String>>().len();
            assert_eq!(all(|cast| vec![cast.label.clone()]), 10, "seed {seed}");
            assert_eq!(all(|cast| cast.orgs.iter().map(|org| org.name.clone()).collect()), 30);
            assert_eq!(
                all(|cast| cast.members.iter().map(|member| member.beam_id.clone()).collect()),
                100
            );
            assert_eq!(
                all(|cast| cast.members.iter().map(|member| member.key.public()).collect()),
                100
            );
            assert_eq!(identities(seed, 10).as_object().map_or(0, Map::len), 90);
        }
    }

    #[test]
    fn members_stand_at_their_part_in_three_organisations() {
        for seed in 0..50 {
            let cast = Cast::new(seed);
            assert!(
                cast.members
                    .iter()
                    .all(|member| cast.member(member.part).beam_id == member.beam_id)
            );
            let orgs: BTreeSet<&str> = cast.members.iter().map(|member| member.org.as_str()).collect();
            let ids: BTreeSet<&str> = cast.members.iter().map(|member| member.beam_id.as_str()).collect();
            assert_eq!((orgs.len(), ids.len()), (4, 10), "seed {seed}");
        }
    }
}
