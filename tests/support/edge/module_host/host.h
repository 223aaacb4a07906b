// A stand-in for Envoy around envoy/module. tests/unit/edge/test_envoy_module.py compiles it with the sanitizers of
// the C compiler.
#pragma once

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

enum { MAX_BYTES = 400000, COUNTERS = 6 };

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define T(text) ((Text){text, sizeof(text) - 1})
#define CHECK(what) \
  if (!(what)) fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what), abort()

// One request as Envoy holds it.
typedef struct {
  Header request[8], response[12];
  size_t request_count, response_count;
  Text chunk;
  Text body, buffered;  // of the request: this piece, and what the filter has let Envoy keep
  void *route;
  Text refusal;
  char *sent;  // the body that went to the client
  size_t sent_bytes, content_length;
  bool ended;
} Host;

// By the order in which the filter has defined them.
extern atomic_ullong metrics[COUNTERS];
extern size_t next_metric;

Header *find(Host *host, HeaderMap map, Text key);

static inline void add(Header *all, size_t *count, Text key, Text value) { all[(*count)++] = (Header){key, value}; }

// What a command line asks for: see main.c.
int cache_main(const char *seed, const char *count);
int fields_main(char *fields);

// ---- what Envoy calls ----

void *HOOK(http_filter_config_new)(EnvoyConfig, Text name, Text config);
void HOOK(http_filter_config_destroy)(void *);
void *HOOK(http_filter_new)(const void *, EnvoyFilter);
void HOOK(http_filter_destroy)(void *);
HeadersStatus HOOK(http_filter_request_headers)(EnvoyFilter, void *, bool);
BodyStatus HOOK(http_filter_request_body)(EnvoyFilter, void *, bool);
TrailersStatus HOOK(http_filter_request_trailers)(EnvoyFilter, void *);
void *HOOK(http_filter_per_route_config_new)(Text name, Text config);
void HOOK(http_filter_per_route_config_destroy)(void *);
HeadersStatus HOOK(http_filter_response_headers)(EnvoyFilter, void *, bool);
BodyStatus HOOK(http_filter_response_body)(EnvoyFilter, void *, bool);
TrailersStatus HOOK(http_filter_response_trailers)(EnvoyFilter, void *);
