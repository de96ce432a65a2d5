//! The endpoints: which path asks the daemon for what.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::Method};
use serde::Deserialize;

use crate::control::{Control, ControlError, Status};
use crate::messages::{
    Addresses, Attach, Check, Connect, Detach, Expose, Forget, Hide, PsEntry, RemovePeers, RemovedPeers,
    VersionAnswer, Why,
};
use crate::render;
use crate::report::Report;
use crate::why::WhyReport;

/// Everything, for the Unix socket: whoever can open that is root.
pub fn control_router<C: Control>(control: C) -> Router {
    let router = Router::new()
        .route("/version", get(version::<C>))
        .route("/ps", get(ps::<C>))
        .route("/connect", post(connect::<C>))
        .route("/forget", post(forget::<C>))
        .route("/rmpeer", post(remove_peers::<C>))
        .route("/why", post(why::<C>))
        .route("/attach", post(attach::<C>))
        .route("/detach", post(detach::<C>))
        .route("/check", post(check::<C>))
        .route("/expose", post(expose::<C>))
        .route("/hide", post(hide::<C>))
        .route("/stop", post(stop::<C>));
    finish(router.merge(read_only()), control)
}

/// The read-only part, for the status address: any user of the host can reach it.
pub fn public_router<C: Control>(control: C) -> Router {
    finish(read_only(), control)
}

fn read_only<C: Control>() -> Router<C> {
    Router::new()
        .route("/status", get(status::<C>))
        .route("/status/connections", get(connections::<C>))
        .route("/status/peers", get(peers::<C>))
        .route("/status/targets", get(targets::<C>))
        .route("/status/routes", get(routes::<C>))
        .route("/report", get(report::<C>))
        .route("/metrics", get(metrics::<C>))
}

fn finish<C: Control>(router: Router<C>, control: C) -> Router {
    router.fallback(no_such_page).method_not_allowed_fallback(wrong_method).with_state(control)
}

type Answer<T> = Result<Json<T>, ControlError>;
type Body<T> = Result<Json<T>, JsonRejection>;

async fn status<C: Control>(State(control): State<C>) -> Result<String, ControlError> {
    Ok(render::status(&ready(&control).await?))
}

async fn connections<C: Control>(State(control): State<C>) -> Result<String, ControlError> {
    Ok(render::connections(&control.report().await?.router))
}

async fn peers<C: Control>(State(control): State<C>) -> Result<String, ControlError> {
    Ok(render::peers(&control.report().await?.router))
}

async fn routes<C: Control>(State(control): State<C>) -> Result<String, ControlError> {
    Ok(render::routes(&control.report().await?.router))
}

async fn targets<C: Control>(State(control): State<C>) -> Result<String, ControlError> {
    Ok(render::targets(&control.report().await?.router))
}

async fn report<C: Control>(State(control): State<C>) -> Answer<Report> {
    Ok(Json(control.report().await?))
}

async fn metrics<C: Control>(State(control): State<C>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], control.metrics().await)
}

async fn version<C: Control>(State(control): State<C>) -> Answer<VersionAnswer> {
    let Report { version, router, .. } = control.report().await?;
    Ok(Json(VersionAnswer { version, name: router.name, nickname: router.nickname, pid: std::process::id() }))
}

#[derive(Deserialize)]
struct PsQuery {
    /// Separated by commas, which no container's name has.
    #[serde(default)]
    containers: String,
}

async fn ps<C: Control>(
    State(control): State<C>,
    query: Result<Query<PsQuery>, QueryRejection>,
) -> Answer<Vec<PsEntry>> {
    let Query(query) = query.map_err(|rejection| ControlError::bad_request(rejection.body_text()))?;
    let names = query.containers.split(',').filter(|name| !name.is_empty()).map(String::from);
    Ok(Json(control.ps(names.collect()).await?))
}

async fn connect<C: Control>(State(control): State<C>, body: Body<Connect>) -> Answer<()> {
    control.connect(taken(body)?).await.map(Json)
}

async fn forget<C: Control>(State(control): State<C>, body: Body<Forget>) -> Answer<()> {
    control.forget(taken(body)?).await.map(Json)
}

async fn remove_peers<C: Control>(State(control): State<C>, body: Body<RemovePeers>) -> Answer<RemovedPeers> {
    control.remove_peers(taken(body)?).await.map(Json)
}

async fn why<C: Control>(State(control): State<C>, body: Body<Why>) -> Answer<WhyReport> {
    control.why(taken(body)?).await.map(Json)
}

async fn attach<C: Control>(State(control): State<C>, body: Body<Attach>) -> Answer<Addresses> {
    control.attach(taken(body)?).await.map(Json)
}

async fn detach<C: Control>(State(control): State<C>, body: Body<Detach>) -> Answer<Addresses> {
    control.detach(taken(body)?).await.map(Json)
}

async fn check<C: Control>(State(control): State<C>, body: Body<Check>) -> Answer<()> {
    control.check(taken(body)?).await.map(Json)
}

async fn expose<C: Control>(State(control): State<C>, body: Body<Expose>) -> Answer<Addresses> {
    control.expose(taken(body)?).await.map(Json)
}

async fn hide<C: Control>(State(control): State<C>, body: Body<Hide>) -> Answer<Addresses> {
    control.hide(taken(body)?).await.map(Json)
}

async fn stop<C: Control>(State(control): State<C>) -> Answer<()> {
    control.stop().await.map(Json)
}

async fn no_such_page(method: Method, uri: Uri) -> ControlError {
    ControlError::not_found(format!("there is no {method} {} here", uri.path()))
        .with_hint("control is on the Unix socket only; GET /status, /report and /metrics are everywhere")
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let error = ControlError::bad_request(format!("{} does not take {method}", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, Json(error)).into_response()
}

/// The report, or 503 while the daemon is starting, so that `GET /status` can be waited for.
async fn ready<C: Control>(control: &C) -> Result<Report, ControlError> {
    let report = control.report().await?;
    if report.ready { Ok(report) } else { Err(ControlError::unavailable("the router is still starting")) }
}

fn taken<T>(body: Body<T>) -> Result<T, ControlError> {
    let Json(request) = body.map_err(|rejection| ControlError::bad_request(rejection.body_text()))?;
    Ok(request)
}

impl Status {
    fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status.code(), Json(self)).into_response()
    }
}
