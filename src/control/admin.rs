//! The admin port: metrics, health, and changes for those who may ask for them.
//!
//! Whoever reaches it may be a browser that was led here, or may never finish a request
//! . So names are checked, heads have a time and a size, connections a number and a life, and
//! health has places of its own.

use super::ledger::{self, ledger_metrics};
use super::metrics::{self, ControlCounts};
use super::reload::Reloader;
use crate::config::{Admin, Faults};
use crate::durable::LedgerHandle;
use crate::limits::{
    ACCEPT_REST_MS, ADMIN_BODY_OCTETS, ADMIN_CONNECTION_LIFE, ADMIN_CONNECTIONS_MAX,
    ADMIN_HEAD_OCTETS, ADMIN_RESERVED_CONNECTIONS, ADMIN_TIMEOUT,
};
use crate::shard::gateway::GatewayHandle;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What the admin port answers from.
#[derive(Clone, Debug)]
pub(super) struct AdminPort {
    pub settings: Arc<Admin>,
    pub gateway: GatewayHandle,
    pub reloader: Reloader,
    pub ledger: Option<LedgerHandle>,
    pub draining: Arc<AtomicBool>,
    /// How often the control thread began again.
    pub restarts: Arc<AtomicU64>,
    pub log_lines_lost: Arc<AtomicU64>,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, port: AdminPort) {
    let health = Router::new().route("/healthz", get(alive)).fallback(busy);
    let named = |router: Router| {
        router.layer(middleware::from_fn_with_state(port.clone(), by_a_known_name))
    };
    let (all, health) = (named(router(&port)), named(health));
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let mut reserved: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(ACCEPT_REST_MS)).await;
            continue;
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let router = all.clone();
            tokio::spawn(async move {
                connection(stream, peer, router).await;
                drop(place);
            });
            continue;
        }
        reserved.retain(|one| !one.is_finished());
        // Whoever has waited longest without an answer asks for none.
        if reserved.len() == ADMIN_RESERVED_CONNECTIONS
            && let Some(oldest) = reserved.pop_front()
        {
            oldest.abort();
        }
        reserved.push_back(tokio::spawn(connection(stream, peer, health.clone())).abort_handle());
    }
}

fn router(port: &AdminPort) -> Router {
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready));
    // Without a secret there is nothing that could be asked for.
    let router = match &port.settings.token {
        Some(_) => router.route("/reload", post(reload)),
        None => router,
    };
    let router = router.with_state(port.clone());
    match &port.ledger {
        // Who has written to whom is told on this machine only.
        Some(handle) => router
            .merge(ledger::admin_routes(handle.clone()).layer(middleware::from_fn(only_from_here))),
        None => router,
    }
}

async fn only_from_here(
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match peer.ip().to_canonical().is_loopback() {
        true => next.run(request).await,
        false => (StatusCode::FORBIDDEN, "this is told on this machine only\n").into_response(),
    }
}

/// One request, and the end. Scrapers come seldom enough to connect anew.
async fn connection(stream: TcpStream, peer: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_TIMEOUT)
        .max_buf_size(ADMIN_HEAD_OCTETS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does to its connection is its own affair.
    let _ = timeout(ADMIN_CONNECTION_LIFE, served).await;
}

/// A page of another site can make a browser ask here, by a name of its own that it leads to this
/// address. It cannot make it ask by an address, or by a name that is ours.
async fn by_a_known_name(State(port): State<AdminPort>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(header::HOST).iter();
    let asked = request.uri().host().map(|host| port.settings.is_host(host));
    let mut known = named
        .map(|value| value.to_str().is_ok_and(|value| port.settings.is_host(value)))
        .chain(asked);
    // Programs that name no host are no browsers.
    if known.all(|one| one) {
        return next.run(request).await;
    }
    let text = "this name is none of `hosts` in [admin]\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn busy() -> (StatusCode, &'static str) {
    (StatusCode::SERVICE_UNAVAILABLE, "too many connections: only /healthz is answered\n")
}

async fn ready(State(port): State<AdminPort>) -> (StatusCode, &'static str) {
    match port.draining.load(Ordering::Relaxed) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}

async fn metrics_text(State(port): State<AdminPort>) -> Response {
    let restarts = port.restarts.load(Ordering::Relaxed);
    let log_lines_lost = port.log_lines_lost.load(Ordering::Relaxed);
    let control = ControlCounts { reloads: port.reloader.counts(), restarts, log_lines_lost };
    // The shards answer within a round; should one not, health is answered all the same.
    let asked = tokio::task::spawn_blocking(move || {
        let ledger = port.ledger.map(|ledger| ledger_metrics(&ledger.report()));
        metrics::render(&port.gateway.snapshots(), control) + &ledger.unwrap_or_default()
    });
    match timeout(ADMIN_TIMEOUT, asked).await {
        Ok(Ok(text)) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the shards do not answer\n").into_response(),
    }
}

/// A change: from this machine, with the secret, and as JSON, which no form of a page can send.
async fn reload(
    State(port): State<AdminPort>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let told = |status: StatusCode, text: &str| (status, Json(json!({ "error": text })));
    let (head, body) = request.into_parts();
    if !peer.ip().to_canonical().is_loopback() {
        let text = "changes are taken from this machine only";
        return told(StatusCode::FORBIDDEN, text).into_response();
    }
    if !shows_token(&port.settings, &head.headers) {
        let text = "show the token of [admin]: `Authorization: Bearer TOKEN`";
        return told(StatusCode::UNAUTHORIZED, text).into_response();
    }
    if !is_json(&head.headers) {
        let text = "send JSON: `Content-Type: application/json`, and {}";
        return told(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    if !is_empty_object(body).await {
        return told(StatusCode::BAD_REQUEST, "send the body {}").into_response();
    }
    let reloader = port.reloader.clone();
    let asked = tokio::task::spawn_blocking(move || reloader.again("POST /reload"));
    match asked.await {
        Ok(Ok(())) => Json(json!({ "reloaded": true })).into_response(),
        Ok(Err(refused)) => {
            let faults = refused.faults().map(lines).unwrap_or_default();
            let told = json!({ "error": refused.to_string(), "faults": faults });
            (StatusCode::CONFLICT, Json(told)).into_response()
        }
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "the reload has failed").into_response(),
    }
}

fn lines(faults: &Faults) -> Vec<String> {
    faults.each().iter().map(|fault| fault.line()).collect()
}

fn shows_token(settings: &Admin, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    shown.zip(settings.token.as_ref()).is_some_and(|(shown, token)| token.is(shown))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

async fn is_empty_object(body: Body) -> bool {
    let octets = timeout(ADMIN_TIMEOUT, to_bytes(body, ADMIN_BODY_OCTETS)).await;
    let octets = octets.ok().and_then(Result::ok).unwrap_or_default();
    let value = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&octets);
    value.is_ok_and(|map| map.is_empty())
}

impl Admin {
    /// Whether a host, with or without a port, is an address, `localhost`, or one of the names.
    fn is_host(&self, host: &str) -> bool {
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => bare,
            _ => host,
        };
        let inner = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
        let name = bare.to_ascii_lowercase();
        inner.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_known_names() {
        let admin = Admin {
            address: "127.0.0.1:9925".parse().unwrap(),
            hosts: vec!["mx1.example.net".to_owned()],
            token: None,
        };
        let table = [
            ("127.0.0.1:9925", true),
            ("127.0.0.1", true),
            ("[::1]:9925", true),
            ("[::1]", true),
            ("localhost:1", true),
            ("LocalHost", true),
            ("MX1.example.net:9925", true),
            ("evil.example", false),
            ("evil.example:9925", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("mx1.example.net@evil.example", false),
            ("", false),
            (":9925", false),
        ];
        for (host, expected) in table {
            assert_eq!(admin.is_host(host), expected, "{host}");
        }
    }
}
