//! The partner desk: beta requests through all stages, their notifications, two workspaces.
//!
//! Source: Beam 1.6.0, contract sections 2.3, 2.4 and 2.11.

use crate::client::Access;
use crate::client::directory::DirectoryClient;
use crate::deployment::Service::Directory;
use crate::seed::cast::{Cast, Part};
use crate::seed::ledger::{Area, Attempt, Expectation, Row};
use crate::seed::recorder::Recorder;
use crate::seed::registry::audit_row;
use crate::seed::traffic::Sent;
use crate::seed::{SeedError, SeedPlan, SentIntent, Workspaces};
use futures_util::future::try_join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// What came of it.
pub(crate) struct Handled {
    pub(crate) requests: Vec<i64>,
    pub(crate) workspaces: Vec<String>,
}

/// Requests and workspaces side by side; both refer to intents that were sent before.
pub(crate) async fn handle(
    access: &Access,
    plan: &SeedPlan,
    cast: &Cast,
    recorder: &Recorder<'_>,
    sent: &Sent,
) -> Result<Handled, SeedError> {
    let desk = Desk {
        directory: &access.directory,
        recorder,
        owner: &plan.admin_email,
        cast,
        sent,
    };
    let (requests, workspaces) = tokio::try_join!(desk.requests(), desk.workspaces(plan.workspaces))?;
    Ok(Handled { requests, workspaces })
}

struct Desk<'a> {
    directory: &'a DirectoryClient,
    recorder: &'a Recorder<'a>,
    owner: &'a str,
    cast: &'a Cast,
    sent: &'a Sent,
}

const NO_DETAILS: [&str; 5] = ["owner", "operatorNotes", "lastContactAt", "nextMeetingAt", "reminderAt"];

/// Company, source, workflow, agents; the change that follows is [`Desk::change_of`] the same place.
const COMPANIES: [(&str, &str, &str, i64); 7] = [
    ("Alpha Werke GmbH", "hosted-beta-page", "hosted-beta-partner-handoff", 3),
    ("Bêta Énergie SA", "hosted-beta-page", "hosted-beta-supplier-quote", 12),
    ("Γάμμα Logistics", "partner-referral", "hosted-beta-partner-handoff", 7),
    (
        "Delta Sp. z o.o.",
        "hosted-beta-page",
        "hosted-beta-invoice-approval",
        4,
    ),
    ("Épsilon S.L.", "conference", "hosted-beta-partner-handoff", 9),
    ("ゼータ商事", "hosted-beta-page", "hosted-beta-supplier-quote", 25),
    ("Età Moda S.p.A.", "partner-referral", "hosted-beta-partner-handoff", 1),
];

impl Desk<'_> {
    async fn requests(&self) -> Result<Vec<i64>, SeedError> {
        let mut ids = Vec::new();
        // One after the other, so that the same seed gives the same ids.
        for n in 0..COMPANIES.len() {
            ids.push(self.join(n).await?);
        }
        let changes = ids.iter().enumerate().map(|(n, id)| async move {
            match self.change_of(n) {
                Some(change) => self.change(*id, &change).await,
                None => Ok(None),
            }
        });
        try_join_all(changes).await?;
        self.take_note(ids[1]).await?;
        self.export_proof(ids[4]).await?;
        Ok(ids)
    }

    async fn join(&self, n: usize) -> Result<i64, SeedError> {
        let (company, source, workflow, agents) = COMPANIES[n];
        let email = format!("partner-{n}@s{}.example", self.cast.label);
        let summary = format!("{company}: {agents} agents, Übergabe an Partner");
        let body = json!({
            "email": email,
            "source": source,
            "company": company,
            "agentCount": agents,
            "workflowType": workflow,
            "workflowSummary": summary,
        });
        let attempt = Attempt::new("request", &email).row(Row::new(Directory, "waitlist", [("email", email.as_str())]));
        let call = self.directory.anonymous();
        let (write, answer) = self.recorder.write(attempt, call.join_waitlist(&body)).await?;
        let id = self.id_of(&answer, "id", "POST /waitlist")?;
        let mut fields = body;
        fields["stage"] = json!("new");
        fields["proofIntentNonce"] = Value::Null;
        fields["blockedPrerequisites"] = json!([]);
        for name in NO_DETAILS {
            fields[name] = Value::Null;
        }
        let notification = json!({
            "status": "new",
            "severity": "warning",
            "sourceType": "beta_request",
            "betaRequestId": id,
            "owner": null,
        });
        let learned = |area, subject: String, fields| {
            self.recorder.learned(write, Expectation::new(area, subject, fields));
        };
        learned(Area::Requests, format!("request {id}"), fields);
        learned(Area::Notifications, notification_subject(id), notification);
        Ok(id)
    }

    /// What happens to the n-th request, so that every stage is there; the first two stay new.
    fn change_of(&self, n: usize) -> Option<Value> {
        let days = |days: i64| {
            let at = self.recorder.now() + SignedDuration::from_hours(24 * days);
            format!("{at:.3}")
        };
        let nonce = |n: usize| self.sent.intents.get(n).map(|sent| sent.intent.nonce.clone());
        match n {
            2 => Some(json!({"status": "reviewing", "owner": self.owner})),
            3 => Some(json!({
                "status": "contacted", "owner": self.owner, "lastContactAt": days(-2),
                "operatorNotes": "Rückruf vereinbart; spricht Polnisch (ąęź)",
            })),
            4 => Some(json!({
                "status": "scheduled", "owner": self.owner, "nextAction": "Hold the pilot review",
                "lastContactAt": days(-3), "nextMeetingAt": days(4), "reminderAt": days(3),
                "proofIntentNonce": nonce(0), "operatorNotes": "proof linked\nsecond line",
                "blockedPrerequisites": ["security_review_confirmed", "go_live_window_confirmed"],
            })),
            5 => Some(json!({
                "status": "active", "owner": "partner-desk@beam.example", "lastContactAt": days(-1),
                "reminderAt": days(10), "proofIntentNonce": self.answered().map(|sent| &sent.intent.nonce),
                "operatorNotes": "🚀 rollout in two waves",
            })),
            6 => Some(json!({
                "status": "closed", "owner": self.owner, "nextAction": "None, went with another vendor",
                "proofIntentNonce": nonce(1),
            })),
            _ => None,
        }
    }

    async fn change(&self, id: i64, change: &Value) -> Result<Option<i64>, SeedError> {
        let stage = change["status"].as_str().unwrap_or_default();
        let mut fields = change.clone();
        if let Some(members) = fields.as_object_mut() {
            members.shift_remove("status");
            members.insert("stage".to_owned(), json!(stage));
        }
        let mut notification = json!({
            "status": if stage == "reviewing" { "acknowledged" } else { "acted" },
            "owner": change["owner"],
        });
        if let Some(next) = change.get("nextAction") {
            notification["nextAction"] = next.clone();
        }
        let row = Row::new(Directory, "waitlist", [("id", json!(id)), ("status", json!(stage))]);
        let attempt = Attempt::new("request-change", id.to_string())
            .row(row)
            .expects(Area::Requests, format!("request {id}"), fields)
            .expects(Area::Notifications, notification_subject(id), notification);
        let call = self.directory.patch_beta_request(id, change);
        self.recorder.write(attempt, call).await?;
        Ok(Some(id))
    }

    /// Somebody takes a new request's notification without touching the request.
    async fn take_note(&self, request: i64) -> Result<(), SeedError> {
        let shown = self.directory.beta_request(request).await?.value;
        let id = self.id_of(&shown["request"], "notificationId", "GET /admin/beta-requests/{id}")?;
        let change = json!({"status": "acknowledged", "owner": self.owner, "nextAction": "Call back on Monday"});
        let key = format!("beta-request:{request}");
        let columns = [("source_key", key.as_str()), ("status", "acknowledged")];
        let attempt = Attempt::new("notification-change", &key)
            .row(Row::new(Directory, "operator_notifications", columns))
            .expects(Area::Notifications, notification_subject(request), change.clone());
        self.recorder
            .write(attempt, self.directory.patch_notification(id, &change))
            .await?;
        Ok(())
    }

    /// Reading a proof pack is a write: it leaves an audit row.
    async fn export_proof(&self, request: i64) -> Result<(), SeedError> {
        let target = request.to_string();
        let attempt = Attempt::new("proof-pack", &target).row(audit_row(
            "admin.beta_request.proof_pack.exported",
            [("target", target.as_str())],
        ));
        self.recorder.write(attempt, self.directory.proof_pack(request)).await?;
        Ok(())
    }

    async fn workspaces(&self, which: Workspaces) -> Result<Vec<String>, SeedError> {
        if which == Workspaces::None {
            return Ok(Vec::new());
        }
        let [ours, theirs, _] = &self.cast.orgs;
        let first = Room {
            slug: format!("{}-operations", ours.name),
            name: format!("{} – Betrieb", ours.display_name),
            org: &ours.name,
            external: true,
            scope: "handoff",
        };
        let second = Room {
            slug: format!("{}-desk", theirs.name),
            name: format!("{} Pult", theirs.display_name),
            org: &theirs.name,
            external: false,
            scope: "internal",
        };
        let (id, other) = (self.open(&first).await?, self.open(&second).await?);
        self.fill_first(&first.slug, id).await?;
        self.fill_second(&second.slug, other).await?;
        Ok(vec![first.slug, second.slug])
    }

    async fn open(&self, room: &Room<'_>) -> Result<i64, SeedError> {
        let body = json!({
            "name": room.name,
            "slug": room.slug,
            "orgName": room.org,
            "description": format!("{}: Übungsraum", room.name),
            "defaultThreadScope": room.scope,
            "externalHandoffsEnabled": room.external,
        });
        let mut fields = body.clone();
        if let Some(members) = fields.as_object_mut() {
            members.shift_remove("slug");
            members.insert("status".to_owned(), json!("active"));
        }
        let attempt = Attempt::new("workspace", &room.slug)
            .row(Row::new(Directory, "workspaces", [("slug", room.slug.as_str())]))
            .expects(Area::Workspaces, format!("workspace {}", room.slug), fields);
        let call = self.directory.create_workspace(&body);
        let (_, workspace) = self.recorder.write(attempt, call).await?;
        self.id_of(&workspace, "id", "POST /admin/workspaces")
    }

    async fn fill_first(&self, slug: &str, id: i64) -> Result<(), SeedError> {
        let beam_id = |part| self.cast.member(part).beam_id.as_str();
        let (procurement, finance, planner) = (
            beam_id(Part::Procurement),
            beam_id(Part::Finance),
            beam_id(Part::Planner),
        );
        self.set_policy(slug, &first_policy(procurement, finance, self.owner))
            .await?;
        let bindings = [
            json!({"beamId": procurement, "bindingType": "agent", "owner": self.owner, "runtimeType": "mcp:einkauf",
                "policyProfile": "trusted", "canInitiateExternal": true, "notes": "primär", "defaultThreadScope": "handoff"}),
            json!({"beamId": beam_id(Part::Operations), "bindingType": "service", "owner": self.owner, "status": "paused"}),
            json!({"beamId": finance, "bindingType": "partner", "notes": "Gegenüber"}),
        ];
        for binding in &bindings {
            self.bind(slug, id, binding).await?;
        }
        let channels = [
            json!({"partnerBeamId": finance, "label": "Finanzen", "owner": self.owner, "status": "active", "notes": "Hauptkanal"}),
            json!({"partnerBeamId": planner, "label": "Plan", "owner": null, "status": "trial"}),
            json!({"partnerBeamId": beam_id(Part::Buyer), "label": "Einkauf extern", "owner": self.owner,
                "status": "blocked", "notes": "Vertrag fehlt"}),
        ];
        let mut first_channel = None;
        for channel in &channels {
            let channel = self.connect(slug, id, channel).await?;
            first_channel = first_channel.or(Some(channel));
        }
        if let (Some(channel), Some(sent)) = (first_channel, self.answered()) {
            self.note_exchange(slug, id, channel, finance, &sent.intent.nonce)
                .await?;
        }
        for thread in self.first_threads(procurement, finance) {
            self.discuss(slug, id, &thread).await?;
        }
        Ok(())
    }

    async fn fill_second(&self, slug: &str, id: i64) -> Result<(), SeedError> {
        let beam_id = |part| self.cast.member(part).beam_id.as_str();
        let policy = json!({
            "version": 1,
            "defaults": {"externalInitiation": "deny", "allowedPartners": []},
            "bindingRules": [],
            "workflowRules": [],
            "metadata": {"notes": "nur intern", "template": null},
        });
        self.set_policy(slug, &policy).await?;
        let finance = beam_id(Part::Finance);
        let binding = json!({"beamId": finance, "bindingType": "agent", "owner": "desk@partner.example"});
        self.bind(slug, id, &binding).await?;
        let binding = json!({"beamId": beam_id(Part::Archive), "bindingType": "service", "notes": "読み取り専用"});
        self.bind(slug, id, &binding).await?;
        let channel = json!({"partnerBeamId": beam_id(Part::Procurement), "label": "Kunde", "status": "active"});
        self.connect(slug, id, &channel).await?;
        let thread = json!({
            "kind": "internal", "title": "Monatsabschluss", "summary": "Belege sammeln", "status": "closed",
            "participants": [participant("human", "desk@partner.example", "owner")],
        });
        self.discuss(slug, id, &thread).await
    }

    fn first_threads(&self, procurement: &str, finance: &str) -> Vec<Value> {
        let mut threads = vec![
            json!({
                "kind": "internal", "title": "Prepare handoff", "summary": "Vorbereitung", "owner": self.owner,
                "participants": [participant("human", self.owner, "approver"), participant("agent", procurement, "participant")],
            }),
            json!({
                "kind": "handoff", "title": "Waiting for contract", "status": "blocked", "workflowType": "hosted-beta-supplier-quote",
                "participants": [participant("agent", procurement, "owner"), participant("partner", finance, "observer")],
            }),
        ];
        if let Some(sent) = self.answered() {
            threads.push(json!({
                "kind": "handoff", "title": "Bestellung 1042 – Übergabe", "summary": "approved", "owner": self.owner,
                "workflowType": "hosted-beta-partner-handoff", "linkedIntentNonce": sent.intent.nonce,
                "participants": [participant("agent", procurement, "owner"), participant("partner", finance, "participant")],
            }));
        }
        threads
    }

    /// The first intent that went from the customer to its partner and was answered.
    fn answered(&self) -> Option<&SentIntent> {
        let finance = &self.cast.member(Part::Finance).beam_id;
        let mut intents = self.sent.intents.iter();
        intents.find(|sent| sent.status == "acked" && &sent.intent.to == finance)
    }

    async fn set_policy(&self, slug: &str, policy: &Value) -> Result<(), SeedError> {
        let attempt = Attempt::new("workspace-policy", slug)
            .row(audit_row("admin.workspace_policy.updated", [("target", slug)]))
            .expects(Area::Workspaces, format!("workspace {slug}"), json!({"policy": policy}));
        let call = self.directory.patch_workspace_policy(slug, policy);
        self.recorder.write(attempt, call).await?;
        Ok(())
    }

    async fn bind(&self, slug: &str, workspace: i64, binding: &Value) -> Result<(), SeedError> {
        let defaults = json!({"owner": null, "runtimeType": null, "policyProfile": null, "canInitiateExternal": false,
            "status": "active", "defaultThreadScope": "internal", "notes": null});
        let beam_id = binding["beamId"].as_str().unwrap_or_default();
        let row = child("workspace_identity_bindings", workspace, "beam_id", beam_id);
        let attempt = Attempt::new("identity", format!("{slug}/{beam_id}")).row(row).expects(
            Area::Workspaces,
            format!("identity {slug}/{beam_id}"),
            over(defaults, binding, "beamId"),
        );
        let call = self.directory.create_identity(slug, binding);
        self.recorder.write(attempt, call).await?;
        Ok(())
    }

    async fn connect(&self, slug: &str, workspace: i64, channel: &Value) -> Result<i64, SeedError> {
        let defaults = json!({"owner": null, "notes": null, "lastIntentNonce": null});
        let partner = channel["partnerBeamId"].as_str().unwrap_or_default();
        let row = child("workspace_partner_channels", workspace, "partner_beam_id", partner);
        let attempt = Attempt::new("channel", format!("{slug}/{partner}")).row(row).expects(
            Area::Workspaces,
            format!("channel {slug}/{partner}"),
            over(defaults, channel, "partnerBeamId"),
        );
        let call = self.directory.create_channel(slug, channel);
        let (_, answer) = self.recorder.write(attempt, call).await?;
        self.id_of(&answer, "id", "POST …/partner-channels")
    }

    async fn note_exchange(
        &self,
        slug: &str,
        workspace: i64,
        channel: i64,
        partner: &str,
        nonce: &str,
    ) -> Result<(), SeedError> {
        let change = json!({"lastIntentNonce": nonce});
        let mut row = child("workspace_partner_channels", workspace, "partner_beam_id", partner);
        row.key.insert("last_intent_nonce".to_owned(), json!(nonce));
        let attempt = Attempt::new("channel-change", format!("{slug}/{partner}"))
            .row(row)
            .expects(Area::Workspaces, format!("channel {slug}/{partner}"), change.clone());
        let call = self.directory.patch_channel(slug, channel, &change);
        self.recorder.write(attempt, call).await?;
        Ok(())
    }

    async fn discuss(&self, slug: &str, workspace: i64, thread: &Value) -> Result<(), SeedError> {
        let defaults =
            json!({"status": "open", "summary": null, "owner": null, "workflowType": null, "linkedIntentNonce": null});
        let title = thread["title"].as_str().unwrap_or_default();
        let mut fields = over(defaults, thread, "title");
        fields["participants"] = shown_participants(&thread["participants"]);
        let attempt = Attempt::new("thread", format!("{slug}/{title}"))
            .row(child("workspace_threads", workspace, "title", title))
            .expects(Area::Workspaces, format!("thread {slug}/{title}"), fields);
        let call = self.directory.create_thread(slug, thread);
        self.recorder.write(attempt, call).await?;
        Ok(())
    }

    fn id_of(&self, answer: &Value, member: &'static str, call: &'static str) -> Result<i64, SeedError> {
        answer[member].as_i64().ok_or(SeedError::NoId { member, call })
    }
}

struct Room<'a> {
    slug: String,
    name: String,
    org: &'a str,
    external: bool,
    scope: &'static str,
}

/// The whole document: Beam fills in what is missing, and gives it back complete.
fn first_policy(procurement: &str, finance: &str, approver: &str) -> Value {
    json!({
        "version": 1,
        "defaults": {"externalInitiation": "binding", "allowedPartners": [finance]},
        "bindingRules": [{
            "beamId": procurement, "bindingType": "agent", "policyProfile": "trusted",
            "externalInitiation": "allow", "allowedPartners": [finance],
        }],
        "workflowRules": [{
            "workflowType": "hosted-beta-partner-handoff", "requireApproval": true,
            "allowedPartners": [finance], "approvers": [approver],
        }],
        "metadata": {"notes": "geprüft im Quartal", "template": null},
    })
}

fn participant(kind: &str, id: &str, role: &str) -> Value {
    let mut participant = json!({"principalId": id, "principalType": kind, "role": role});
    if kind != "human" {
        participant["beamId"] = json!(id);
    }
    participant
}

fn shown_participants(participants: &Value) -> Value {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let mut shown: Vec<String> = participants
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            format!(
                "{}:{}:{}",
                text(one, "principalType"),
                text(one, "principalId"),
                text(one, "role")
            )
        })
        .collect();
    shown.sort();
    json!(shown)
}

/// What an object shows: the defaults, and over them what was given, without the member that is its name.
fn over(defaults: Value, given: &Value, name: &str) -> Value {
    let mut fields = defaults;
    for (member, value) in given
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(member, _)| *member != name)
    {
        fields[member] = value.clone();
    }
    fields
}

fn child(table: &str, workspace: i64, column: &'static str, value: &str) -> Row {
    Row::new(
        Directory,
        table,
        [("workspace_id", json!(workspace)), (column, json!(value))],
    )
}

fn notification_subject(request: i64) -> String {
    format!("notification beta-request:{request}")
}
