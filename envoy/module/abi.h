// What of Envoy's ABI for dynamic modules (version 0.2, Envoy 1.40) this module uses.
// Reference: source/extensions/dynamic_modules/abi/abi.h of the Envoy release that is pinned in
// pyproject.toml; names and layouts are that file's, shortened to what is needed here.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION "v0.2.0"

// Text of either side: not terminated, and only borrowed.
typedef struct {
  const char *ptr;
  size_t length;
} Text;

// One header, of either side.
typedef struct {
  Text key;
  Text value;
} Header;

// Envoy's objects: the configuration of a filter, and the filter of one request.
typedef void *EnvoyConfig;
typedef void *EnvoyFilter;

typedef enum { REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2, RESPONSE_TRAILERS = 3 } HeaderMap;
typedef enum { RECEIVED_REQUEST_BODY = 0, BUFFERED_REQUEST_BODY = 1, RECEIVED_RESPONSE_BODY = 2 } BodyKind;
typedef enum { GO_ON = 0, STOP = 1 } HeadersStatus;
typedef enum { BODY_GOES_ON = 0, BUFFER_BODY = 1, STOP_BODY = 3 } BodyStatus;
typedef enum { TRAILERS_GO_ON = 0, STOP_TRAILERS = 1 } TrailersStatus;
typedef enum { METRIC_OK = 0 } MetricResult;

#define CALLBACK(name) envoy_dynamic_module_callback_##name
#define HOOK(name) envoy_dynamic_module_on_##name

bool CALLBACK(http_get_header)(EnvoyFilter, HeaderMap, Text key, Text *value, size_t index, size_t *count);
size_t CALLBACK(http_get_headers_size)(EnvoyFilter, HeaderMap);
bool CALLBACK(http_get_headers)(EnvoyFilter, HeaderMap, Header *all);
bool CALLBACK(http_set_header)(EnvoyFilter, HeaderMap, Text key, Text value);
size_t CALLBACK(http_get_body_chunks_size)(EnvoyFilter, BodyKind);
bool CALLBACK(http_get_body_chunks)(EnvoyFilter, BodyKind, Text *chunks);
size_t CALLBACK(http_get_body_size)(EnvoyFilter, BodyKind);
bool CALLBACK(http_drain_body)(EnvoyFilter, BodyKind, size_t bytes);
// Whether the body that is received now is what was buffered, by another filter or by Envoy.
bool CALLBACK(http_received_buffered_request_body)(EnvoyFilter);
// Answers the request in Envoy's own name; `details` go to the access log.
void CALLBACK(http_send_response)(EnvoyFilter, uint32_t status, Header *headers, size_t count, Text body, Text details);
void CALLBACK(http_set_dynamic_metadata_string)(EnvoyFilter, Text filter, Text key, Text value);
// What the module made of the configuration that the request's route has for this filter, or NULL.
void *CALLBACK(get_most_specific_route_config)(EnvoyFilter);
void CALLBACK(http_send_response_headers)(EnvoyFilter, Header *headers, size_t count, bool end);
void CALLBACK(http_send_response_data)(EnvoyFilter, Text data, bool end);

MetricResult CALLBACK(http_filter_config_define_counter)(EnvoyConfig, Text name, Text *labels, size_t count,
                                                         size_t *id);
MetricResult CALLBACK(http_filter_config_define_gauge)(EnvoyConfig, Text name, Text *labels, size_t count,
                                                       size_t *id);
MetricResult CALLBACK(http_filter_increment_counter)(EnvoyFilter, size_t id, Text *labels, size_t count,
                                                     uint64_t by);
MetricResult CALLBACK(http_filter_set_gauge)(EnvoyFilter, size_t id, Text *labels, size_t count,
                                             uint64_t value);
