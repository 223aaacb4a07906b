// What Envoy calls, passed on to the filter that is meant.
#include "module.h"

#include <stdlib.h>

#include "rules.h"

static const Kind *const kinds[] = {&cache_filter, &who_filter, &fields_filter, &late_filter};

static const Kind *kind_of(Text name) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (same(kinds[i]->name, name)) return kinds[i];
  return NULL;
}

// A configuration, a route's configuration, or a request, with the kind of filter that it belongs to.
typedef struct {
  const Kind *kind;
  void *own;
} Part;

static Part *part_of(const Kind *kind, void *own) {
  Part *part = malloc(sizeof *part);
  if (part) *part = (Part){kind, own};
  return part;
}

bool header(EnvoyFilter envoy, HeaderMap map, Text key, Text *value) {
  size_t count = 0;
  *value = (Text){"", 0};
  return CALLBACK(http_get_header)(envoy, map, key, value, 0, &count) && count > 0;
}

void *route_config(EnvoyFilter envoy) {
  const Part *route = CALLBACK(get_most_specific_route_config)(envoy);
  return route ? route->own : NULL;
}

#pragma GCC visibility push(default)

const char *HOOK(program_init)(void) { return ABI_VERSION; }

Part *HOOK(http_filter_config_new)(EnvoyConfig envoy, Text name, Text config) {
  const Kind *kind = kind_of(name);
  if (!kind) return NULL;
  void *own = kind->config_new ? kind->config_new(envoy, config) : NULL;
  return own || !kind->config_new ? part_of(kind, own) : NULL;
}

void HOOK(http_filter_config_destroy)(Part *config) {
  if (config->kind->config_free) config->kind->config_free(config->own);
  free(config);
}

Part *HOOK(http_filter_per_route_config_new)(Text name, Text config) {
  const Kind *kind = kind_of(name);
  void *own = kind && kind->route_new ? kind->route_new(config) : NULL;
  return own ? part_of(kind, own) : NULL;
}

void HOOK(http_filter_per_route_config_destroy)(Part *route) {
  route->kind->route_free(route->own);
  free(route);
}

Part *HOOK(http_filter_new)(const Part *config, EnvoyFilter envoy) {
  (void)envoy;
  const Kind *kind = config->kind;
  if (!kind->request_new) return (Part *)config;
  void *own = kind->request_new(config->own);
  return own ? part_of(kind, own) : NULL;
}

void HOOK(http_filter_destroy)(Part *request) {
  if (!request || !request->kind->request_new) return;
  request->kind->request_free(request->own);
  free(request);
}

HeadersStatus HOOK(http_filter_request_headers)(EnvoyFilter envoy, Part *request, bool end) {
  return request->kind->request_headers ? request->kind->request_headers(envoy, request->own, end) : GO_ON;
}

BodyStatus HOOK(http_filter_request_body)(EnvoyFilter envoy, Part *request, bool end) {
  return request->kind->request_body ? request->kind->request_body(envoy, request->own, end) : BODY_GOES_ON;
}

TrailersStatus HOOK(http_filter_request_trailers)(EnvoyFilter envoy, Part *request) {
  return request->kind->request_trailers ? request->kind->request_trailers(envoy, request->own) : TRAILERS_GO_ON;
}

HeadersStatus HOOK(http_filter_response_headers)(EnvoyFilter envoy, Part *request, bool end) {
  return request->kind->response_headers ? request->kind->response_headers(envoy, request->own, end) : GO_ON;
}

BodyStatus HOOK(http_filter_response_body)(EnvoyFilter envoy, Part *request, bool end) {
  return request->kind->response_body ? request->kind->response_body(envoy, request->own, end) : BODY_GOES_ON;
}

TrailersStatus HOOK(http_filter_response_trailers)(EnvoyFilter envoy, Part *request) {
  return request->kind->response_trailers ? request->kind->response_trailers(envoy, request->own) : TRAILERS_GO_ON;
}

void HOOK(http_filter_stream_complete)(EnvoyFilter envoy, Part *request) { (void)envoy, (void)request; }

// Envoy looks for these too; nothing here gives it cause to call them.
#define NEVER_CALLED(name) \
  void HOOK(name)(void) {}
NEVER_CALLED(http_filter_http_callout_done)
NEVER_CALLED(http_filter_http_stream_headers)
NEVER_CALLED(http_filter_http_stream_data)
NEVER_CALLED(http_filter_http_stream_trailers)
NEVER_CALLED(http_filter_http_stream_complete)
NEVER_CALLED(http_filter_http_stream_reset)
NEVER_CALLED(http_filter_scheduled)
NEVER_CALLED(http_filter_downstream_above_write_buffer_high_watermark)
NEVER_CALLED(http_filter_downstream_below_write_buffer_low_watermark)

#pragma GCC visibility pop
