//! The seal of a record: an Ed25519 signature over its digest, in `seal.json` beside it.
//!
//! A private key is read from a file of its owner's, used, and never shown. A seal by a key that nobody pinned proves that
//! the evidence is what that key's holder sealed, not who that is.

use crate::deployment::given_file;
use crate::evidence::{StoreError, sha256, short, write_atomically};
use crate::verify::document::Document;
use crate::verify::look::Look;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The seal's name beside the evidence.
pub const FILE_NAME: &str = "seal.json";

const FORMAT: &str = "recovery-drill-seal/1";
const ALGORITHM: &str = "ed25519";

/// DER before the 32 bytes of a private key (PKCS#8), and of a public one (SubjectPublicKeyInfo).
const PRIVATE_DER: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const PUBLIC_DER: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

/// Why a key or seal could not be used. No text holds any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read.
    #[error("cannot read the key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read the private key.
    #[error(
        "the private key {path} may be read by others (mode {mode:04o}); chmod 600 it, and use another key if it was shared"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no private key.
    #[error(
        "{path} holds no Ed25519 private key; give PEM (`openssl genpkey -algorithm ed25519`) or base64 of its 32 bytes"
    )]
    NoPrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// It is no public key.
    #[error("{given} is neither a file with an Ed25519 public key (PEM or base64 of 32 bytes) nor base64 of one")]
    NoPublicKey {
        /// What was given, cut.
        given: String,
    },
    /// There is nothing to seal.
    #[error("cannot seal {path}: it is no evidence")]
    NoEvidence {
        /// The file.
        path: PathBuf,
    },
    /// The seal cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A private key that seals records.
pub struct SealKey(SigningKey);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(<set>)")
    }
}

/// A public key that a seal is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl std::fmt::Display for PublicKey {
    /// Base64 of its 32 bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

/// `seal.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    format: String,
    algorithm: String,
    run: String,
    evidence_sha256: String,
    public_key: String,
    signature: String,
}

impl Seal {
    /// What is signed: format, run and digest, a line each.
    fn message(&self) -> Vec<u8> {
        format!("{}\n{}\n{}\n", self.format, self.run, self.evidence_sha256).into_bytes()
    }
}

impl SealKey {
    /// Reads a private key, PEM (PKCS#8) or base64 of its 32 bytes, from a file that only its owner may read.
    ///
    /// # Errors
    /// [`SealError::Read`], [`SealError::Open`], [`SealError::NoPrivateKey`].
    pub fn read(path: &Path) -> Result<SealKey, SealError> {
        let failed = |source| SealError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SealError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let text = given_file::settings(path).map_err(failed)?;
        let seed = key_bytes(&text, "PRIVATE KEY", &PRIVATE_DER)
            .ok_or_else(|| SealError::NoPrivateKey { path: path.to_owned() })?;
        Ok(SealKey::of(&seed))
    }

    /// The key of a seed.
    #[must_use]
    pub fn of(seed: &[u8; 32]) -> SealKey {
        SealKey(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Seals the evidence of a run's folder: writes `seal.json` beside it.
    ///
    /// # Errors
    /// [`SealError::NoEvidence`], [`SealError::Store`].
    pub fn seal(&self, run: &Path) -> Result<PathBuf, SealError> {
        let evidence = run.join("evidence.json");
        let no_evidence = || SealError::NoEvidence { path: evidence.clone() };
        let text = given_file::document(&evidence).map_err(|_| no_evidence())?;
        let document = Document::lenient(&text).ok_or_else(no_evidence)?;
        self.seal_text(run, &document.run().id, &text)
    }

    /// Seals a document of a run by its text: writes `seal.json` into the run's folder.
    ///
    /// # Errors
    /// [`SealError::Store`].
    pub fn seal_text(&self, run: &Path, id: &str, text: &str) -> Result<PathBuf, SealError> {
        let mut seal = Seal {
            format: FORMAT.to_owned(),
            algorithm: ALGORITHM.to_owned(),
            run: id.to_owned(),
            evidence_sha256: sha256(text.as_bytes()),
            public_key: self.public().to_string(),
            signature: String::new(),
        };
        seal.signature = STANDARD.encode(self.0.sign(&seal.message()).to_bytes());
        // Plain data with text keys: serialising cannot fail.
        let written = serde_json::to_string_pretty(&seal).unwrap_or_default() + "\n";
        let path = run.join(FILE_NAME);
        write_atomically(&path, &written)?;
        Ok(path)
    }
}

impl PublicKey {
    /// A public key: a file with PEM or base64, or base64 itself.
    ///
    /// # Errors
    /// [`SealError::Read`], [`SealError::NoPublicKey`].
    pub fn given(given: &str) -> Result<PublicKey, SealError> {
        let path = Path::new(given);
        let text = if path.is_file() {
            given_file::settings(path).map_err(|source| SealError::Read {
                path: path.to_owned(),
                source,
            })?
        } else {
            given.to_owned()
        };
        // What was given might be a private key by mistake: it is not repeated.
        let shown = if path.is_file() {
            short(given)
        } else {
            "what was given".to_owned()
        };
        key_bytes(&text, "PUBLIC KEY", &PUBLIC_DER)
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .map(PublicKey)
            .ok_or(SealError::NoPublicKey { given: shown })
    }
}

/// The 32 bytes of a key: base64 of them, or PEM of that kind.
fn key_bytes(text: &str, kind: &str, der: &[u8]) -> Option<[u8; 32]> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let body = match text.split_once(&begin) {
        Some((_, rest)) => rest.split_once(&end)?.0,
        None => text,
    };
    let packed: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(packed).ok()?;
    let key = if text.contains(&begin) {
        bytes.strip_prefix(der)?
    } else {
        &bytes
    };
    key.try_into().ok()
}

/// Looks at the seal of a run's folder; `None` where there is none and none is demanded.
pub(crate) fn judge(run: &Path, document: &Document, evidence: &[u8], pinned: Option<&PublicKey>) -> Option<Look> {
    let mut look = Look::default();
    let text = match given_file::settings(&run.join(FILE_NAME)) {
        Ok(text) => text,
        Err(error) => {
            let pinned = pinned?;
            let expected = format!("a seal by {pinned}");
            look.must(false, "seal", &expected, &format!("none ({error})"), FILE_NAME);
            return Some(look);
        }
    };
    match serde_json::from_str::<Seal>(&text) {
        Ok(seal) => held(&seal, &document.run().id, evidence, pinned, &mut look),
        Err(error) => look.must(false, "seal", "a seal", &error.to_string(), FILE_NAME),
    }
    Some(look)
}

/// Whether a document of a run is sealed by this very key.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn is_sealed(run: &Path, id: &str, text: &str, key: &PublicKey) -> Result<(), String> {
    let path = run.join(FILE_NAME);
    let read = given_file::settings(&path).map_err(|error| format!("it bears no seal by {key} ({error})"))?;
    let seal: Seal = serde_json::from_str(&read).map_err(|error| format!("its seal cannot be read: {error}"))?;
    let mut look = Look::default();
    held(&seal, id, text.as_bytes(), Some(key), &mut look);
    match look.findings.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "its seal: {} expected {}, observed {}",
            first.subject, first.expected, first.observed
        )),
    }
}

fn held(seal: &Seal, id: &str, evidence: &[u8], pinned: Option<&PublicKey>, look: &mut Look) {
    look.hold("format", &FORMAT, &seal.format.as_str(), FILE_NAME);
    look.hold("algorithm", &ALGORITHM, &seal.algorithm.as_str(), FILE_NAME);
    look.hold("run", &id, &seal.run.as_str(), FILE_NAME);
    let digest = sha256(evidence);
    look.hold("evidence_sha256", &digest, &seal.evidence_sha256, FILE_NAME);
    let stated = STANDARD.decode(&seal.public_key).ok();
    let stated = stated.and_then(|bytes| VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok());
    let signature = STANDARD.decode(&seal.signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    // By the pinned key, where there is one: what the seal says of itself is not asked.
    let key = pinned.map(|pinned| pinned.0).or(stated);
    let is_signed = match (key, signature) {
        (Some(key), Some(signature)) => key.verify_strict(&seal.message(), &signature).is_ok(),
        _ => false,
    };
    let by = pinned.map_or_else(|| short(&seal.public_key), ToString::to_string);
    look.must(
        is_signed,
        "signature",
        &format!("valid, by {by}"),
        &format!("not so; the seal names {}", short(&seal.public_key)),
        FILE_NAME,
    );
    if pinned.is_none() {
        look.notes.push(format!(
            "no key is pinned: the seal proves that nothing changed since somebody sealed it, not who; give --public-key {by} if that key is the operator's"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn key_file(folder: &TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join("key");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    fn pem(kind: &str, der: &[u8], key: &[u8]) -> String {
        let body = STANDARD.encode([der, key].concat());
        format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
    }

    #[test]
    fn pem_and_base64_give_the_same_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let seed = [7_u8; 32];
        for text in [pem("PRIVATE KEY", &PRIVATE_DER, &seed), STANDARD.encode(seed) + "\n"] {
            let read = SealKey::read(&key_file(&folder, &text, 0o600)).expect("a key");
            assert_eq!(read.public(), SealKey::of(&seed).public());
        }
        let public = SealKey::of(&seed).public();
        let file = key_file(&folder, &pem("PUBLIC KEY", &PUBLIC_DER, public.0.as_bytes()), 0o644);
        for given in [public.to_string(), file.display().to_string()] {
            assert_eq!(PublicKey::given(&given).expect("a key"), public);
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_no_error_shows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let seed = STANDARD.encode([9_u8; 32]);
        let open = SealKey::read(&key_file(&folder, &seed, 0o640)).expect_err("refused");
        assert!(open.to_string().contains("0640"), "{open}");
        let garbage = SealKey::read(&key_file(&folder, &format!("{seed}{seed}"), 0o600)).expect_err("refused");
        assert!(!format!("{garbage} {garbage:?} {open:?}").contains(&seed));
        let private = PublicKey::given(&format!("{seed}x")).expect_err("refused");
        assert!(!format!("{private} {private:?}").contains(&seed));
        assert_eq!(format!("{:?}", SealKey::of(&[9; 32])), "SealKey(<set>)");
    }
}
