//! One part: compressed with zstd, encrypted with age where there is a recipient, named by its content.
//!
//! Without encryption a part is named by the SHA-256 of its content. With encryption that name would tell whoever reads the
//! store which content it is (guess, hash, compare), so the name is an HMAC under a key that does not lie in the store:
//! a secret of the taking machine where it has one, else a key derived from the hashes of all files of the snapshot, which
//! nobody knows who does not have the whole databases already. Only the former is the same for two snapshots.

use age::x25519::{Identity, Recipient};
use hmac::{Hmac, KeyInit as _, Mac as _};
use recovery_drills::evidence::sha256;
use recovery_drills::snapshot::copying::hex;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;

/// What age and zstd add at most to a part that cannot be compressed.
pub const OVERHEAD: u64 = 64 << 10;

/// Why a part or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The text is no recipient.
    #[error("the encryption recipient is no age recipient (age1…), as age-keygen prints it: {what}")]
    Recipient {
        /// What the parser said.
        what: String,
    },
    /// There is no identity in the text.
    #[error("no age identity (AGE-SECRET-KEY-1…) in the identity file, as age-keygen writes it")]
    Identity,
    /// A part could not be encrypted.
    #[error("cannot encrypt to the recipient")]
    Encrypt {
        /// What age said.
        source: age::EncryptError,
    },
    /// It is encrypted and there is no identity.
    #[error("it is encrypted; give the identity file of its recipient (--identity FILE)")]
    Locked,
    /// The identity does not open it, or it is damaged.
    #[error("the identity does not open it: another recipient's, or it is damaged")]
    Decrypt {
        /// What age said.
        source: age::DecryptError,
    },
    /// It is not what a seal makes.
    #[error("it cannot be decompressed: {what}")]
    Decompress {
        /// What went wrong.
        what: String,
    },
}

/// Whom parts are encrypted to.
#[derive(Clone)]
pub struct Lock(Recipient);

impl Lock {
    /// A recipient as `age-keygen` prints it.
    ///
    /// # Errors
    /// [`SealError::Recipient`].
    pub fn parse(text: &str) -> Result<Lock, SealError> {
        // A private key given by mistake must not come back in a message.
        text.trim()
            .parse()
            .map(Lock)
            .map_err(|what: &str| SealError::Recipient { what: what.to_owned() })
    }

    /// As the index names it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.to_string()
    }
}

/// What opens encrypted parts.
#[derive(Clone)]
pub struct Opener(Vec<Identity>);

impl Opener {
    /// The identities of a file as `age-keygen` writes it: a line each, comments with `#`.
    ///
    /// # Errors
    /// [`SealError::Identity`].
    pub fn parse(text: &str) -> Result<Opener, SealError> {
        let lines = text.lines().map(str::trim);
        let keys: Vec<Identity> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.parse().map_err(|_: &str| SealError::Identity))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(SealError::Identity);
        }
        Ok(Opener(keys))
    }
}

/// How parts are named.
#[derive(Clone)]
pub enum Naming {
    /// By their content.
    Content,
    /// By their content, under a key.
    Keyed([u8; 32]),
}

impl Naming {
    /// Under a key made of the store's salt and what the key derives from.
    #[must_use]
    pub fn keyed(salt: &str, from: &[&[u8]]) -> Naming {
        let mut hash = Sha256::new();
        for piece in std::iter::once(&salt.as_bytes()).chain(from) {
            hash.update((piece.len() as u64).to_le_bytes());
            hash.update(piece);
        }
        Naming::Keyed(hash.finalize().into())
    }

    /// The name of a content.
    #[must_use]
    pub fn of(&self, content: &[u8]) -> String {
        match self {
            Naming::Content => sha256(content),
            Naming::Keyed(key) => {
                // An HMAC takes keys of any length.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
                    return String::new();
                };
                mac.update(content);
                hex(&mac.finalize().into_bytes())
            }
        }
    }
}

/// What is stored of a content.
///
/// # Errors
/// [`SealError::Encrypt`].
pub fn seal(content: &[u8], lock: Option<&Lock>) -> Result<Vec<u8>, SealError> {
    let compressed = compress_to_vec(content, CompressionLevel::Fastest);
    match lock {
        None => Ok(compressed),
        Some(lock) => age::encrypt(&lock.0, &compressed).map_err(|source| SealError::Encrypt { source }),
    }
}

/// The content of what is stored; it may have so many bytes at most.
///
/// # Errors
/// [`SealError`].
pub fn open(stored: &[u8], encrypted: bool, opener: Option<&Opener>, limit: u64) -> Result<Vec<u8>, SealError> {
    if !encrypted {
        return decompress(stored, limit);
    }
    let opener = opener.ok_or(SealError::Locked)?;
    let mut last = Err(SealError::Locked);
    for identity in &opener.0 {
        match age::decrypt(identity, stored) {
            Ok(compressed) => return decompress(&compressed, limit),
            Err(source) => last = Err(SealError::Decrypt { source }),
        }
    }
    last
}

fn decompress(compressed: &[u8], limit: u64) -> Result<Vec<u8>, SealError> {
    let wrong = |what: String| SealError::Decompress { what };
    let decoder = StreamingDecoder::new(compressed).map_err(|error| wrong(error.to_string()))?;
    let mut content = Vec::new();
    let read = decoder.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| wrong(error.to_string()))?;
    if content.len() as u64 > limit {
        return Err(wrong(format!("more than {limit} bytes come out of it")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Lock, Opener) {
        let identity = Identity::generate();
        (Lock(identity.to_public()), Opener(vec![identity]))
    }

    #[test]
    fn what_is_sealed_opens_again_with_and_without_encryption() {
        let (lock, opener) = pair();
        for content in [
            Vec::new(),
            vec![7; 300_000],
            (0..70_000_u32).flat_map(u32::to_le_bytes).collect(),
        ] {
            let limit = content.len() as u64;
            let plain = seal(&content, None).expect("sealed");
            assert_eq!(open(&plain, false, None, limit).expect("opened"), content);
            let locked = seal(&content, Some(&lock)).expect("sealed");
            assert_eq!(open(&locked, true, Some(&opener), limit).expect("opened"), content);
        }
    }

    #[test]
    fn another_identity_or_none_does_not_open_it() {
        let ((lock, _), (_, other)) = (pair(), pair());
        let locked = seal(b"rows", Some(&lock)).expect("sealed");
        assert!(matches!(open(&locked, true, None, 10), Err(SealError::Locked)));
        assert!(matches!(
            open(&locked, true, Some(&other), 10),
            Err(SealError::Decrypt { .. })
        ));
    }

    #[test]
    fn a_part_that_grows_past_its_limit_is_refused() {
        let bomb = seal(&vec![0; 1 << 20], None).expect("sealed");
        assert!(bomb.len() < 10_000);
        assert!(matches!(
            open(&bomb, false, None, 1 << 19),
            Err(SealError::Decompress { .. })
        ));
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let good = seal(&(0..9_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(), None).expect("sealed");
        for at in 0..good.len().min(600) {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            // Either refused or other bytes; the hashes tell.
            let _ = open(&bad, false, None, 1 << 20);
            let _ = open(&good[..at], false, None, 1 << 20);
        }
        let (_, opener) = pair();
        assert!(open(&good, true, Some(&opener), 1 << 20).is_err());
    }

    #[test]
    fn a_keyed_name_is_not_that_of_the_content_and_depends_on_the_key() {
        let [one, two] = [&b"secret-1"[..], b"secret-2"].map(|secret| Naming::keyed("salt", &[secret]).of(b"rows"));
        assert!(one != two && one != sha256(b"rows") && one.len() == 64);
    }

    #[test]
    fn a_private_key_given_for_a_recipient_is_not_repeated() {
        use age::secrecy::ExposeSecret as _;
        let key = Identity::generate().to_string();
        let error = Lock::parse(key.expose_secret()).err().expect("refused").to_string();
        assert!(!error.contains(key.expose_secret()), "{error}");
    }
}
