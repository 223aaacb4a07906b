// The filters of this module, and what Envoy calls of each (module.c).
#pragma once

#include "abi.h"

#define TEXT(literal) ((Text){literal, sizeof(literal) - 1})

// A kind of filter. What it does not need is NULL.
typedef struct {
  Text name;  // Envoy's `filter_name`
  // The configuration of all its requests; it returns NULL for one that can't be used.
  void *(*config_new)(EnvoyConfig, Text text);
  void (*config_free)(void *config);
  // The configuration of one route, from its `per_route_config_name`, which is the filter's name.
  void *(*route_new)(Text text);
  void (*route_free)(void *route);
  // One request. Without `request_new` it holds nothing of its own, and the configuration stands for it.
  void *(*request_new)(const void *config);
  void (*request_free)(void *request);
  HeadersStatus (*request_headers)(EnvoyFilter, void *request, bool end);
  BodyStatus (*request_body)(EnvoyFilter, void *request, bool end);
  TrailersStatus (*request_trailers)(EnvoyFilter, void *request);
  HeadersStatus (*response_headers)(EnvoyFilter, void *request, bool end);
  BodyStatus (*response_body)(EnvoyFilter, void *request, bool end);
  TrailersStatus (*response_trailers)(EnvoyFilter, void *request);
} Kind;

extern const Kind cache_filter;   // answers are kept and shared (cache.c)
extern const Kind who_filter;     // the access log's hashed user (who.c)
extern const Kind late_filter;    // headers of what comes behind an answer (late.c)
extern const Kind fields_filter;  // JSON bodies with fields that the request does not have (fields.c)

// Of a header that may stand there more than once, the first value; empty for none.
bool header(EnvoyFilter envoy, HeaderMap map, Text key, Text *value);

// What `route_new` made for the route of this request, or NULL.
void *route_config(EnvoyFilter envoy);
