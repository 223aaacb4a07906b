// Makes headers of what a service says behind its answer, in gRPC's trailers: `cache-control`, `etag`, `age`.
// A service sends those in one piece with the answer; headers would cost it, and Envoy, a message of their own.
// For calls with one answer, which is short enough to be kept here until its trailers come.
#include <string.h>

#include "module.h"

enum { MOST = 64 };

static HeadersStatus response_headers(EnvoyFilter envoy, void *mine, bool end) {
  (void)envoy, (void)mine;
  return end ? GO_ON : STOP;
}

static BodyStatus response_body(EnvoyFilter envoy, void *mine, bool end) {
  (void)envoy, (void)mine;
  return end ? BODY_GOES_ON : BUFFER_BODY;
}

// gRPC's own trailers say how the call ended.
static bool is_grpcs(Text key) { return key.length >= 5 && !memcmp(key.ptr, "grpc-", 5); }

static TrailersStatus response_trailers(EnvoyFilter envoy, void *mine) {
  (void)mine;
  Header all[MOST];
  size_t count = CALLBACK(http_get_headers_size)(envoy, RESPONSE_TRAILERS);
  if (count > MOST || !CALLBACK(http_get_headers)(envoy, RESPONSE_TRAILERS, all)) return TRAILERS_GO_ON;
  for (size_t i = 0; i < count; i++)
    if (!is_grpcs(all[i].key)) CALLBACK(http_set_header)(envoy, RESPONSE_HEADERS, all[i].key, all[i].value);
  return TRAILERS_GO_ON;
}

const Kind late_filter = {
    .name = {"late", 4},
    .response_headers = response_headers,
    .response_body = response_body,
    .response_trailers = response_trailers,
};
