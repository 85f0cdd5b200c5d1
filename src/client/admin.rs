//! The directory's admin surfaces: roles, beta requests, notifications, workspaces.
//!
//! Every call needs a session. Source: Beam 1.6.0, contract sections 2.2 to 2.4 and 2.11.

use crate::client::directory::DirectoryClient;
use crate::client::http::{Answer, ClientError, segment};
use reqwest::Method;
use serde_json::{Value, json};

impl DirectoryClient {
    /// `GET /admin/roles`: the roles assigned in the database, for this directory's identity.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn roles(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/admin/roles").await?.member("roles")
    }

    /// `POST /admin/roles`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn assign_role(&self, email: &str, role: &str) -> Result<Answer<Value>, ClientError> {
        let body = json!({"email": email, "role": role});
        self.write(Method::POST, "/admin/roles", &body).await?.typed()
    }

    /// `DELETE /admin/roles/{email}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn delete_role(&self, email: &str) -> Result<Answer<()>, ClientError> {
        let path = format!("/admin/roles/{}", segment(email));
        let reply = self.call(Method::DELETE, &path, None).await?.allow(&[204])?;
        Ok(Answer {
            status: reply.status,
            value: (),
        })
    }

    /// `POST /waitlist`, public: the whole answer, its `status` is the call's outcome, not the request's stage.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn join_waitlist(&self, request: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, "/waitlist", request).await?.typed()
    }

    /// `GET /admin/beta-requests`, at most 5000.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn requests(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/admin/beta-requests?limit=5000").await?.member("requests")
    }

    /// `GET /admin/beta-requests/{id}`: request, activity, proof summary.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn beta_request(&self, id: i64) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/admin/beta-requests/{id}")).await?.typed()
    }

    /// `PATCH /admin/beta-requests/{id}`: the member `request`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_beta_request(&self, id: i64, patch: &Value) -> Result<Answer<Value>, ClientError> {
        let path = format!("/admin/beta-requests/{id}");
        self.write(Method::PATCH, &path, patch).await?.member("request")
    }

    /// `GET /admin/beta-requests/{id}/proof-pack`; writes an audit row.
    ///
    /// # Errors
    /// Any [`ClientError`]; without a proof nonce `Unexpected` 409.
    pub async fn proof_pack(&self, id: i64) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/admin/beta-requests/{id}/proof-pack?format=json"))
            .await?
            .typed()
    }

    /// `GET /admin/operator-notifications`; writes a notification for each critical alert.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn notifications(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/admin/operator-notifications?limit=500")
            .await?
            .member("notifications")
    }

    /// `PATCH /admin/operator-notifications/{id}`: the member `notification`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_notification(&self, id: i64, patch: &Value) -> Result<Answer<Value>, ClientError> {
        let path = format!("/admin/operator-notifications/{id}");
        self.write(Method::PATCH, &path, patch).await?.member("notification")
    }

    /// `GET /admin/workspaces`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn workspaces(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/admin/workspaces").await?.member("workspaces")
    }

    /// `POST /admin/workspaces`: the member `workspace`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_workspace(&self, workspace: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, "/admin/workspaces", workspace)
            .await?
            .member("workspace")
    }

    /// `GET /admin/workspaces/{slug}`: the member `workspace`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn workspace(&self, slug: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&within(slug, "")).await?.member("workspace")
    }

    /// `GET …/identities`: the bindings.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn identities(&self, slug: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&within(slug, "/identities")).await?.member("bindings")
    }

    /// `POST …/identities`: the member `binding`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_identity(&self, slug: &str, identity: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, &within(slug, "/identities"), identity)
            .await?
            .member("binding")
    }

    /// `GET …/partner-channels`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn channels(&self, slug: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&within(slug, "/partner-channels")).await?.member("channels")
    }

    /// `POST …/partner-channels`: the member `channel`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_channel(&self, slug: &str, channel: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, &within(slug, "/partner-channels"), channel)
            .await?
            .member("channel")
    }

    /// `PATCH …/partner-channels/{id}`: the member `channel`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_channel(&self, slug: &str, id: i64, patch: &Value) -> Result<Answer<Value>, ClientError> {
        let path = within(slug, &format!("/partner-channels/{id}"));
        self.write(Method::PATCH, &path, patch).await?.member("channel")
    }

    /// `GET …/threads`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn threads(&self, slug: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&within(slug, "/threads")).await?.member("threads")
    }

    /// `GET …/threads/{id}`: thread and participants.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn thread(&self, slug: &str, id: i64) -> Result<Answer<Value>, ClientError> {
        self.get(&within(slug, &format!("/threads/{id}"))).await?.typed()
    }

    /// `POST …/threads`: thread and participants.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_thread(&self, slug: &str, thread: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, &within(slug, "/threads"), thread)
            .await?
            .typed()
    }

    /// `GET …/policy`: policy, who changed it last, previews.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn workspace_policy(&self, slug: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&within(slug, "/policy")).await?.typed()
    }

    /// `PATCH …/policy`: as [`DirectoryClient::workspace_policy`].
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_workspace_policy(&self, slug: &str, patch: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::PATCH, &within(slug, "/policy"), patch)
            .await?
            .typed()
    }

    /// `GET …/timeline`, at most 250 entries.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn timeline(&self, slug: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&within(slug, "/timeline?limit=250")).await?.member("entries")
    }
}

fn within(slug: &str, rest: &str) -> String {
    format!("/admin/workspaces/{}{rest}", segment(slug))
}
