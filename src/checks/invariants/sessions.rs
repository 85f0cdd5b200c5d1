//! Rules of operators' access: magic links, sessions, roles.
//!
//! Source: Beam 1.6.0, contract 2.2, 4.3; that an audit row follows its row within two seconds is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::requests::ONE_CALL_MS;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "A01",
        title: "magic links",
        why: "a link lives 15 minutes, was audited when it was issued, and is used exactly if a login followed (contract 2.2)",
        needs: &["admin_magic_links", "audit_log"],
        run: links,
    },
    Rule {
        name: "A02",
        title: "sessions",
        why: "one audited login a session, one life for all, revoked by a logout (contract 2.2)",
        needs: &["admin_sessions", "audit_log"],
        run: sessions,
    },
    Rule {
        name: "A03",
        title: "roles are as the audit left them",
        why: "assigning and revoking a role writes e-mail, role and directory address (contract 2.2)",
        needs: &["directory_roles", "audit_log"],
        run: roles,
    },
];

/// Audit rows of an action by this actor.
fn by_actor<'f>(facts: &'f Facts, action: &str, actor: &str) -> Vec<Record<'f>> {
    facts
        .audited(action)
        .into_iter()
        .filter(|row| row.str("actor") == actor)
        .collect()
}

/// Whether one of the rows was written within a call that wrote this time.
fn near(rows: &[Record<'_>], ms: Option<i64>) -> bool {
    let told = rows.iter().filter_map(|row| row.ms("timestamp"));
    ms.is_some_and(|ms| told.into_iter().any(|told| (-5..=ONE_CALL_MS).contains(&(told - ms))))
}

fn links(facts: &Facts) -> RuleOutcome {
    const LIFE_MS: i64 = 15 * 60_000;
    let mut look = Look::default();
    let pruned = facts.pruned("audit");
    for link in facts.rows("admin_magic_links") {
        look.seen();
        let life = link
            .ms("expires_at")
            .zip(link.ms("created_at"))
            .map(|(end, start)| end - start);
        look.hold(link, "expires_at", life == Some(LIFE_MS), "15 minutes after created_at");
        if let Some(reason) = &pruned {
            look.relax(reason);
            continue;
        }
        let issued = by_actor(facts, "admin.auth.challenge.issued", link.str("email"));
        if link.int("used") == Some(0) && !near(&issued, link.ms("created_at")) {
            // A mail that was not sent (502, 503) leaves its link behind, without an audit row.
            look.relax("an unused link without an audited challenge: its mail may not have been sent");
            continue;
        }
        look.hold(
            link,
            "created_at",
            near(&issued, link.ms("created_at")),
            "the time of an audited challenge of this e-mail",
        );
        let role = issued.iter().any(|row| row.str("target") == link.str("role"));
        look.hold(link, "role", role, "the role of the audited challenge");
        let later = facts
            .of("admin_magic_links", "email", link.str("email"))
            .iter()
            .any(|other| other.ms("created_at") > link.ms("created_at"));
        if later {
            continue;
        }
        let login = by_actor(facts, "admin.auth.login", link.str("email"))
            .iter()
            .any(|row| row.ms("timestamp") >= link.ms("created_at"));
        look.hold(
            link,
            "used",
            link.int("used") == Some(i64::from(login)),
            i64::from(login),
        );
    }
    look.end()
}

fn sessions(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let pruned = facts.pruned("audit");
    let mut lives: Vec<(i64, i64)> = Vec::new();
    for session in facts.rows("admin_sessions") {
        look.seen();
        let (Some(created), Some(expires)) = (session.ms("created_at"), session.ms("expires_at")) else {
            continue;
        };
        let life = expires - created;
        look.hold(
            session,
            "expires_at",
            life >= 15 * 60_000 && life % 60_000 == 0,
            "whole minutes after created_at",
        );
        let other = lives
            .iter()
            .find(|(at, life_of)| (created - at).abs() < 600_000 && *life_of != life);
        look.hold(session, "expires_at", other.is_none(), "the life of the other sessions");
        lives.push((created, life));
        let seen = session.ms("last_seen_at");
        look.hold(
            session,
            "last_seen_at",
            seen.is_some_and(|seen| (created..=expires).contains(&seen)),
            "a time of the session's life",
        );
        let revoked = session.is_null("revoked_at") || session.ms("revoked_at") >= Some(created);
        look.hold(session, "revoked_at", revoked, "not before created_at");
        if let Some(reason) = &pruned {
            look.relax(reason);
            continue;
        }
        let logins = by_actor(facts, "admin.auth.login", session.str("email"));
        look.hold(
            session,
            "created_at",
            near(&logins, Some(created)),
            "the time of an audited login of this e-mail",
        );
        let role = logins.iter().any(|row| row.str("target") == session.str("role"));
        look.hold(session, "role", role, "the role of the audited login");
    }
    if pruned.is_none() {
        logins_and_logouts(facts, &mut look);
    }
    look.end()
}

fn logins_and_logouts(facts: &Facts, look: &mut Look) {
    for audit in facts.audited("admin.auth.login") {
        look.seen();
        let sessions = facts.of("admin_sessions", "email", audit.str("actor"));
        let there = sessions.iter().any(|session| near(&[audit], session.ms("created_at")));
        look.row(audit, there, "the session that it tells of", "none");
    }
    for audit in facts.audited("admin.auth.logout") {
        look.seen();
        let sessions = facts.of("admin_sessions", "email", audit.str("actor"));
        let there = sessions.iter().any(|session| near(&[audit], session.ms("revoked_at")));
        look.row(audit, there, "a session that was revoked at this time", "none");
    }
    // Every audited act of an operator was a request with a session, which moves last_seen_at.
    for audit in facts
        .rows("audit_log")
        .filter(|row| row.str("action").starts_with("admin.") && !row.str("action").starts_with("admin.auth."))
    {
        let sessions = facts.of("admin_sessions", "email", audit.str("actor"));
        let latest = sessions.iter().filter_map(|session| session.ms("last_seen_at")).max();
        let Some((latest, told)) = latest.zip(audit.ms("timestamp")) else {
            continue;
        };
        look.seen();
        let session = sessions[0];
        look.hold(
            session,
            "last_seen_at",
            latest + ONE_CALL_MS >= told,
            format_args!("not before audit row {}", audit.rowid()),
        );
    }
}

fn roles(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    let actions = ["admin.role.assigned", "admin.role.revoked"];
    let last = |email: &str, url: &str| {
        let rows = facts.of("audit_log", "target", email);
        rows.into_iter()
            .rfind(|row| actions.contains(&row.str("action")) && row.json("details")["directoryUrl"] == url)
    };
    for role in facts.rows("directory_roles") {
        look.seen();
        let Some(audit) = last(role.str("user_id"), role.str("directory_url")) else {
            look.row(role, false, "an audited assignment for this directory address", "none");
            continue;
        };
        let assigned = audit.str("action") == "admin.role.assigned";
        look.row(
            role,
            assigned,
            "a role that was not revoked",
            format_args!("audit row {} revokes it", audit.rowid()),
        );
        let same = !assigned || audit.json("details")["role"].as_str() == role.text("role");
        look.hold(
            role,
            "role",
            same,
            format_args!("what audit row {} says", audit.rowid()),
        );
    }
    for audit in facts.audited("admin.role.assigned") {
        look.seen();
        let details = audit.json("details");
        let url = details["directoryUrl"].as_str().unwrap_or_default();
        let newest = last(audit.str("target"), url).is_some_and(|newest| newest.at == audit.at);
        let there = facts
            .of("directory_roles", "user_id", audit.str("target"))
            .iter()
            .any(|row| row.str("directory_url") == url);
        look.row(audit, !newest || there, "the role that it assigns", "none");
    }
    look.end()
}
