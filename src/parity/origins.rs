//! Finds the origins of APIs in the text of a page, script or document, each with its line and why it counts as one.
//!
//! A page names many addresses; an API's is recognised by what it is (local, the expected one, a name such as `api.`), by its
//! path (`/health`), by the name it is given (`VITE_API_URL`), or, in a script, by standing alone in quotes: bundlers put
//! `VITE_API_URL` in so, while links have a path.

use crate::parity::comments::{Syntax, blanked};
use serde::{Deserialize, Serialize};

/// An origin of an API, as one place names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Literal {
    /// `public-site`, `docs`, `dashboard`, `status-page`.
    pub surface: String,
    /// Scheme, host and port in lower case, `http` for `ws`; a default port is left out.
    pub origin: String,
    /// Whether it stands as a base, ending in a slash.
    pub trailing_slash: bool,
    /// Why it counts as an API's.
    pub why: String,
    /// File and line, or URL and line.
    #[serde(rename = "where")]
    pub place: String,
}

/// Routers and URL parsers of many bundles hold `http://localhost` as a base that is never asked.
pub(crate) const DUMMY_BASE: &str = "perhaps a base for parsing addresses";

/// Hosts of URL parsers' bases are no longer than `a.b`, or begin as `a.com`.
const LONGEST_DUMMY: usize = 3;

/// No address is longer, in bytes; no line that speaks of one is farther away.
pub(crate) const LONGEST_ADDRESS: usize = 4_096;

/// The beginning of a text, of at most so many bytes.
pub(crate) fn clipped(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is known of origins beforehand.
pub(crate) struct Known {
    /// Hosts that are an API's in this or another environment.
    pub(crate) apis: Vec<String>,
    /// Origins or hosts that are none.
    pub(crate) others: Vec<String>,
}

/// Hosts that many pages and bundles name and that are nobody's Beam, with what lies below them.
const NEVER_APIS: &str = "w3.org whatwg.org ietf.org rfc-editor.org ecma-international.org schema.org json-schema.org ogp.me \
    github.com github.io githubusercontent.com gitlab.com npmjs.com npmjs.org unpkg.com jsdelivr.net cdnjs.com esm.sh \
    google.com googleapis.com gstatic.com googletagmanager.com google-analytics.com doubleclick.net youtube.com \
    cloudflare.com cloudflareinsights.com bootstrapcdn.com fontawesome.com typekit.net fonts.net rsms.me \
    reactjs.org react.dev reactrouter.com radix-ui.com tanstack.com nextjs.org mui.com d3js.org recharts.org fb.me \
    vuejs.org vite.dev vitejs.dev vitepress.dev tailwindcss.com jquery.com lodash.com momentjs.com opensource.org \
    mozilla.org nodejs.org python.org rust-lang.org docker.com vercel.com netlify.com fly.io \
    algolia.net algolia.com stripe.com paypal.com sentry.io posthog.com plausible.io segment.com segment.io mixpanel.com \
    hotjar.com intercom.io datadoghq.com bugsnag.com calendly.com gravatar.com unsplash.com shields.io bit.ly \
    twitter.com x.com facebook.com instagram.com linkedin.com discord.com discord.gg t.me telegram.org slack.com medium.com \
    iconify.design wikipedia.org stackoverflow.com apple.com microsoft.com example.com example.org example.net";

/// First words of hosts that serve an API.
const API_WORDS: &[&str] = &["api", "bus", "directory", "backend", "gateway", "relay"];

/// Paths that Beam's services have.
const API_PATHS: &[&str] = &[
    "/health",
    "/release",
    "/stats",
    "/agents",
    "/intents",
    "/admin",
    "/v1",
    "/acl",
    "/ws",
    "/observability",
    "/waitlist",
    "/orgs",
    "/beta-requests",
    "/federation",
    "/shield",
];

/// Words in the name of a variable that holds an API's address.
const BASE_WORDS: &[&str] = &[
    "api",
    "directory_url",
    "directoryurl",
    "bus_url",
    "busurl",
    "baseurl",
    "base_url",
    "backend",
    "endpoint",
];

/// Every origin of an API in a text. `is_script` for scripts; in HTML the inline scripts are found.
pub(crate) fn scan(surface: &str, shown: &str, raw: &str, is_script: bool, known: &Known) -> Vec<Literal> {
    let text = unescaped(raw);
    let scripts = if is_script { Vec::new() } else { inline_scripts(&text) };
    let text = blanked(&text, syntax(shown, is_script), &scripts);
    let mut found: Vec<Literal> = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (at, _) in text.match_indices("://") {
        line += text[counted..at].matches('\n').count();
        counted = at;
        let Some(address) = Address::at(&text, at) else {
            continue;
        };
        let after = scripts.partition_point(|(from, _)| *from <= at);
        let in_script = is_script || after.checked_sub(1).is_some_and(|before| at < scripts[before].1);
        let rewritten =
            || is_rewrite(shown, &text[..address.start]).then(|| "where requests are sent on to".to_owned());
        let Some(why) = address.why(&text, in_script, known).or_else(rewritten) else {
            continue;
        };
        let stands_alone = address.is_quoted && ["", "/"].contains(&address.path);
        found.push(Literal {
            surface: surface.to_owned(),
            origin: address.origin(),
            trailing_slash: stands_alone && address.path == "/" && (in_script || why.starts_with("named")),
            why,
            place: format!("{shown}:{line}"),
        });
    }
    let (mut line, mut counted) = (1, 0);
    for (at, origin) in bare_hosts(&text, known) {
        if at < counted {
            // The next host's places.
            (line, counted) = (1, 0);
        }
        line += text[counted..at].matches('\n').count();
        counted = at;
        found.push(Literal {
            surface: surface.to_owned(),
            origin,
            trailing_slash: false,
            why: "the host of another environment's API".to_owned(),
            place: format!("{shown}:{line}"),
        });
    }
    found.dedup();
    found
}

/// Without the escapes of JSON, JavaScript, HTML and addresses; lines stay as they are.
fn unescaped(raw: &str) -> String {
    let mut text = raw.replace("\\/", "/").replace("&amp;", "&");
    for slash in ["\\u002F", "\\u002f", "\\x2F", "\\x2f", "&#x2F;", "&#x2f;", "&#47;"] {
        if text.contains(slash) {
            text = text.replace(slash, "/");
        }
    }
    for (escape, plain) in [("%3A", ":"), ("%3a", ":"), ("%2F", "/"), ("%2f", "/")] {
        if text.contains(escape) {
            text = text.replace(escape, plain);
        }
    }
    text
}

/// Whether a file builds an image: its build arguments are inlined into a bundle.
pub(crate) fn is_dockerfile(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("dockerfile") || name.starts_with("containerfile") || name.ends_with(".dockerfile")
}

fn syntax(shown: &str, is_script: bool) -> Syntax {
    let name = shown.rsplit('/').next().unwrap_or(shown);
    let is_settings = name.starts_with(".env") || name == "_redirects" || name == "_headers" || is_dockerfile(name);
    if is_script {
        Syntax::Script
    } else if is_settings || [".yml", ".yaml", ".toml"].iter().any(|end| name.ends_with(end)) {
        Syntax::Settings
    } else {
        Syntax::Page
    }
}

/// Files that tell a host where to send requests on to, and whether the lines before an address speak of an API.
fn is_rewrite(shown: &str, before: &str) -> bool {
    let name = shown.rsplit('/').next().unwrap_or(shown);
    if !["_redirects", "vercel.json", "netlify.toml"].contains(&name) {
        return false;
    }
    let mut from = before.len().saturating_sub(LONGEST_ADDRESS);
    while !before.is_char_boundary(from) {
        from += 1;
    }
    let lines = if name == "_redirects" { 1 } else { 3 };
    before[from..]
        .rsplit('\n')
        .take(lines)
        .any(|line| line.contains("/api"))
}

/// Places at which the host of another environment's API stands without a scheme: `//host/x`, `"host"`.
fn bare_hosts(text: &str, known: &Known) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for origin in &known.apis {
        let Some((_, host)) = origin.split_once("://") else {
            continue;
        };
        let of_host = |c: char| c.is_ascii_alphanumeric() || "-.:@".contains(c);
        for (at, _) in text.match_indices(host) {
            let (before, after) = (&text[..at], &text[at + host.len()..]);
            let is_whole = !before.ends_with(of_host) && !after.starts_with(|c: char| of_host(c) && c != '.');
            if is_whole && !before.ends_with("://") && host.contains('.') {
                found.push((at, origin.clone()));
            }
        }
    }
    found
}

fn inline_scripts(text: &str) -> Vec<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(from) = lower[at..].find("<script").map(|start| at + start) {
        // What looks like another beginning before the end belongs to the script.
        at = lower[from..].find("</script").map_or(lower.len(), |end| from + end);
        // Data for search engines is no script, though it stands in such an element.
        if !lower[from..at]
            .split('>')
            .next()
            .unwrap_or_default()
            .contains("ld+json")
        {
            found.push((from, at));
        }
    }
    found
}

struct Address<'a> {
    scheme: String,
    host: String,
    port: Option<&'a str>,
    path: &'a str,
    /// Where the scheme begins.
    start: usize,
    /// Whether it fills a quoted text.
    is_quoted: bool,
}

impl<'a> Address<'a> {
    fn at(text: &'a str, colon: usize) -> Option<Address<'a>> {
        let before = &text[..colon];
        let start = before
            .rfind(|c: char| !c.is_ascii_alphabetic())
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let scheme = before[start..].to_ascii_lowercase();
        if !["http", "https", "ws", "wss"].contains(&scheme.as_str()) {
            return None;
        }
        let rest = clipped(&text[colon + 3..], LONGEST_ADDRESS);
        let end = rest
            .find(|c: char| c.is_whitespace() || "\"'`<>()\\,;{}|*$".contains(c))
            .unwrap_or(rest.len());
        let (whole, after) = (&rest[..end], rest[end..].chars().next());
        let authority_end = whole.find(['/', '?', '#']).unwrap_or(whole.len());
        let (authority, path) = whole.split_at(authority_end);
        let authority = authority
            .rsplit('@')
            .next()
            .unwrap_or(authority)
            .trim_end_matches(['.', ':']);
        let (host, port) = match authority.strip_prefix('[') {
            Some(six) => six.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
            None => authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:".contains(c));
        let is_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let is_named = host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost") || port.is_some();
        let quote = before[..start].chars().next_back();
        (is_host && is_port && is_named).then(|| Address {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path,
            start,
            is_quoted: quote.is_some_and(|quote| "\"'`".contains(quote)) && after == quote,
        })
    }

    fn origin(&self) -> String {
        let scheme = if self.scheme.starts_with("http") {
            self.scheme.as_str()
        } else if self.scheme == "ws" {
            "http"
        } else {
            "https"
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port {
            Some(port) if port != if scheme == "http" { "80" } else { "443" } => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }
    }

    fn why(&self, text: &str, in_script: bool, known: &Known) -> Option<String> {
        let is = |name: &String| *name == self.host || *name == self.origin();
        let below = |domain: &str| self.host == *domain || self.host.ends_with(&format!(".{domain}"));
        if known.apis.iter().any(is) {
            return Some("the API of an environment".to_owned());
        }
        if known.others.iter().any(is) || NEVER_APIS.split_whitespace().any(below) {
            return None;
        }
        if let Some(name) = self.name_before(text) {
            return Some(format!("named {name}"));
        }
        let is_bare = in_script && self.port.is_none() && ["", "/"].contains(&self.path);
        let first = self.host.split('.').next().unwrap_or_default();
        if is_bare && self.scheme == "http" && (self.host.len() <= LONGEST_DUMMY || first.len() == 1) {
            return None;
        }
        if is_local(&self.host) {
            let is_dummy = is_bare && self.host == "localhost";
            return Some(
                if is_dummy {
                    DUMMY_BASE
                } else {
                    "an address of this machine"
                }
                .to_owned(),
            );
        }
        if first.split('-').any(|word| API_WORDS.contains(&word)) && self.host.matches('.').count() > 1 {
            return Some("a host with the name of an API".to_owned());
        }
        if API_PATHS.iter().any(|path| has_path(self.path, path)) {
            return Some("a path of the API".to_owned());
        }
        if !self.scheme.starts_with("http") {
            return Some("a WebSocket".to_owned());
        }
        let stands_alone = self.is_quoted && ["", "/"].contains(&self.path);
        (in_script && stands_alone).then(|| "a bare origin in a script".to_owned())
    }

    /// The name that is given the address: `VITE_API_URL: "…"`, `const apiBase = "…"`, `data-api-url="…"`,
    /// `<meta name="api" content="…">`.
    fn name_before(&self, text: &str) -> Option<String> {
        let mut from = self.start.saturating_sub(80);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let before = &text[from..self.start];
        let line = before.rsplit('\n').next().unwrap_or(before);
        let trimmed = line.trim_end_matches(|c: char| c.is_whitespace() || "\"'`=:?|(".contains(c));
        if trimmed.len() == line.len() {
            return None;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-$.".contains(c);
        let name = trimmed.rsplit(|c: char| !is_name(c)).next().unwrap_or_default();
        let speaks_of_api = |text: &str| {
            let lower = text.to_ascii_lowercase();
            BASE_WORDS.iter().any(|word| lower.contains(word))
        };
        if speaks_of_api(name) {
            return Some(name.to_owned());
        }
        let tag = line.rsplit('<').next().unwrap_or_default();
        (tag.starts_with("meta") && name == "content" && speaks_of_api(tag)).then(|| "in a meta element".to_owned())
    }
}

fn has_path(path: &str, of_api: &str) -> bool {
    path.strip_prefix(of_api)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// Whether a host is the reader's own machine or one that only a container network knows.
pub(crate) fn is_local(host: &str) -> bool {
    let private = ["127.", "0.0.0.0", "10.", "192.168."]
        .iter()
        .any(|start| host.starts_with(start));
    let of_docker = (16..32).any(|second| host.starts_with(&format!("172.{second}.")));
    let named = host == "localhost"
        || host == "::1"
        || [".localhost", ".local", ".internal"]
            .iter()
            .any(|end| host.ends_with(end));
    let is_address = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    named || !host.contains(['.', ':']) || (is_address && (private || of_docker))
}

/// Host and origin of an address; `None` for another text.
pub(crate) fn parsed(url: &str) -> Option<(String, String)> {
    let address = Address::at(url, url.find("://")?)?;
    (address.start == 0).then(|| (address.host.clone(), address.origin()))
}

#[cfg(test)]
mod tests;
