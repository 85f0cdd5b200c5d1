//! What keeps clean and restored instances apart from everything but the harness, and what is withheld from them.

use crate::deployment::environment::RuntimeKind;
use crate::drills::context::{DrillContext, DrillRequest, UsageError, chain};
use crate::runtime::enclosure::Enclosure;
use std::sync::Arc;

/// How evidence names a network that has nothing but the loopback interface.
const ALONE: &str = "network namespace with only the loopback interface";

/// The same for services alone, while the harness stays in the machine's network.
const ENCLOSED: &str =
    "network namespace with only the loopback interface, which the harness reaches through private sockets";
/// How evidence says that there is no isolation where it would matter.
const OPEN: &str = "none: restored instances share this machine's network (WARNING: real data behind open ports)";

/// Beginnings of variables by which a service reaches out: mail, billing, federation. Source: Beam 1.6.0, contract 1.2.
const OUTBOUND: &[&str] = &["SMTP_", "RESEND_", "STRIPE_", "BEAM_FEDERATION_SHARED_SECRET"];

/// Whether a variable is one by which a service reaches others.
#[must_use]
pub(crate) fn is_outbound(variable: &str) -> bool {
    OUTBOUND.iter().any(|start| variable.starts_with(start))
}

/// Whether this process has no network but the loopback interface.
#[must_use]
pub fn is_alone() -> bool {
    std::fs::read_to_string("/proc/self/net/dev").is_ok_and(|text| only_loopback(&text))
}

/// Whether a table of interfaces holds `lo` alone.
fn only_loopback(table: &str) -> bool {
    let mut names = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim());
    names.next() == Some("lo") && names.next().is_none()
}

impl DrillRequest {
    /// What keeps clean and restored instances apart from everything but the harness, in words for the evidence.
    #[must_use]
    pub fn isolation(&self) -> String {
        let how = match self.environment.directory.runtime {
            RuntimeKind::Container if self.is_given() => {
                "internal network without a way out, reached through relays published on the loopback address"
            }
            RuntimeKind::Container => {
                "own network, ports published on the loopback address; outgoing connections are open"
            }
            RuntimeKind::Process | RuntimeKind::Attached if self.is_alone() => ALONE,
            RuntimeKind::Process | RuntimeKind::Attached if self.enclosing.is_some() => ENCLOSED,
            RuntimeKind::Process | RuntimeKind::Attached if self.is_given() => OPEN,
            RuntimeKind::Process | RuntimeKind::Attached => "none",
        };
        if self.is_given() {
            format!("{how}; keys of mail, billing and federation withheld")
        } else {
            how.to_owned()
        }
    }

    /// Whether restored services share a network of their own with the harness; an attached source would be in it too.
    fn is_alone(&self) -> bool {
        self.attached.is_none() && is_alone()
    }

    /// Why a copy of production data may not be started here; `None` where it may.
    #[must_use]
    pub fn refused_isolation(&self) -> Option<String> {
        let is_apart = self.is_alone() || self.enclosing.is_some();
        let is_open = self.environment.directory.runtime != RuntimeKind::Container && !is_apart;
        let is_refused = self.is_given() && self.environment.production && is_open && !self.consent.accept_open_ports;
        is_refused.then(|| {
            format!(
                "{} is a production environment, and restored processes would share this machine's network; use --runtime \
                 container, or add --accept-open-ports on a machine that nobody else reaches",
                self.environment.name
            )
        })
    }
}

/// The network of a deployment's processes, where the request asks for one.
pub(crate) async fn enclosure(context: &DrillContext) -> Result<Option<Arc<Enclosure>>, UsageError> {
    let Some(enclosing) = context
        .request
        .enclosing
        .as_ref()
        .filter(|_| !context.request.environment.is_in_containers())
    else {
        return Ok(None);
    };
    let opened = Enclosure::open(enclosing, &context.folders.work.join("network")).await;
    let opened = opened.map_err(|error| UsageError(format!("{}; give --runtime container", chain(&error))))?;
    Ok(Some(Arc::new(opened)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_interface_is_no_isolation() {
        let head = "Inter-|   Receive\n face |bytes\n";
        assert!(only_loopback(&format!("{head}    lo: 0 0\n")));
        assert!(!only_loopback(&format!("{head}    lo: 0 0\n  eth0: 0 0\n")));
        assert!(!only_loopback(&format!("{head}  eth0: 0 0\n")));
        assert!(!only_loopback(head));
    }

    #[test]
    fn keys_of_mail_billing_and_federation_reach_out() {
        for name in [
            "SMTP_HOST",
            "RESEND_API_KEY",
            "STRIPE_SECRET_KEY",
            "BEAM_FEDERATION_SHARED_SECRET",
        ] {
            assert!(is_outbound(name), "{name}");
        }
        assert!(!is_outbound("JWT_SECRET"));
    }
}
