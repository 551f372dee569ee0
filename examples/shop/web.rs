//! The HTTP API.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

use crate::order::{BODY_MAX, parse};
use crate::shop::{Refused, Shop};

/// Seconds after which an order that found the shop full may be sent again.
const RETRY_AFTER: u64 = 1;

/// Starts to listen; stops when told to through the handle.
pub(crate) fn open(shop: &Shop, port: u16) -> io::Result<(SocketAddr, ServerHandle)> {
    let shop = shop.clone();
    let app = move || {
        App::new()
            .app_data(web::Data::new(shop.clone()))
            .app_data(web::PayloadConfig::new(BODY_MAX))
            .service(web::resource("/orders").post(place))
            .service(web::resource("/orders/{order}").get(find))
            .service(web::resource("/ledger").get(ledger))
            .service(web::resource("/health").get(health))
            .default_service(web::to(nowhere))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", port))?;
    let address = server
        .addrs()
        .first()
        .copied()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok((address, handle))
}

fn wrong(status: StatusCode, what: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "error": what }))
}

async fn place(shop: web::Data<Shop>, body: Result<web::Bytes, actix_web::Error>) -> HttpResponse {
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let status = error.as_response_error().status_code();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                return wrong(status, &format!("an order is at most {BODY_MAX} bytes"));
            }
            return wrong(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    let order = match parse(&body) {
        Ok(order) => order,
        Err(what) => return wrong(StatusCode::BAD_REQUEST, &what),
    };
    match shop.place(&order) {
        Ok(order) => HttpResponse::Accepted().json(json!({ "order": order, "state": "placed" })),
        Err(Refused::Full) => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", RETRY_AFTER.to_string()))
            .json(json!({ "error": "too many orders at once; try again later" })),
        Err(Refused::Closed) => wrong(StatusCode::SERVICE_UNAVAILABLE, "the shop is closing"),
    }
}

async fn find(shop: web::Data<Shop>, order: web::Path<String>) -> HttpResponse {
    let Ok(order) = order.parse::<u64>() else {
        return wrong(StatusCode::BAD_REQUEST, "an order is known by a number");
    };
    match shop.book.state(order) {
        Some(state) => HttpResponse::Ok().json(json!({ "order": order, "state": state })),
        None => wrong(StatusCode::NOT_FOUND, &format!("there is no order {order}")),
    }
}

async fn ledger(shop: web::Data<Shop>) -> HttpResponse {
    let ledger = shop.board.ledger();
    HttpResponse::Ok().json(json!({ "gap": ledger.gap(), "ledger": ledger }))
}

async fn health(shop: web::Data<Shop>) -> HttpResponse {
    let totals = shop.book.totals();
    HttpResponse::Ok().json(json!({
        "gap": shop.board.ledger().gap(),
        "accepted": totals.accepted,
        "open": totals.accepted - shop.book.ended().min(totals.accepted),
    }))
}

async fn nowhere() -> HttpResponse {
    wrong(
        StatusCode::NOT_FOUND,
        "there is /orders, /orders/{number}, /ledger and /health",
    )
}
