// Refuses JSON bodies with fields that the request does not have, or has twice, and what is not JSON though the
// transcoder reads it: names without quotes or in single ones. The transcoder skips unknown fields without a word,
// so that a misspelt `requestId` would lose its effect, and takes the last of two. What is not JSON otherwise is
// for the transcoder to say.
//
// The route's configuration holds the fields of its request, each by both its spellings, with the fields of its own
// in braces: `score,request_id/requestId,rating{name,score}`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "rules.h"

enum { MOST_DEPTH = 64, MOST_FIELDS = 64, SHOWN = 16, BAD_REQUEST = 400, UNAVAILABLE = 503 };

typedef struct Message Message;

typedef struct {
  Text names[2];
  Message *inside;  // NULL where any value may stand
} Field;

struct Message {
  size_t count;
  Field fields[MOST_FIELDS];
};

// ---- the fields of a route's request ----

static void message_free(Message *message) {
  if (!message) return;
  for (size_t i = 0; i < message->count; i++) message_free(message->fields[i].inside);
  free(message);
}

static Text taken(Text *text, const char *until) {
  size_t length = 0;
  while (length < text->length && !strchr(until, text->ptr[length])) length++;
  Text name = {text->ptr, length};
  text->ptr += length;
  text->length -= length;
  return name;
}

static bool take_char(Text *text, char wanted) {
  if (!text->length || *text->ptr != wanted) return false;
  text->ptr++, text->length--;
  return true;
}

// The names stay in the text. NULL for what is no list of fields.
static Message *message_of(Text *text) {
  Message *message = calloc(1, sizeof *message);
  if (!message) return NULL;
  do {
    if (message->count == MOST_FIELDS) break;
    Field *field = &message->fields[message->count++];
    field->names[0] = field->names[1] = taken(text, "/{},");
    if (take_char(text, '/')) field->names[1] = taken(text, "/{},");
    if (!field->names[0].length || !field->names[1].length) break;
    if (take_char(text, '{') && !((field->inside = message_of(text)) && take_char(text, '}'))) break;
    if (!text->length || *text->ptr == '}') return message;
  } while (take_char(text, ','));
  message_free(message);
  return NULL;
}

typedef struct {
  Message *request;
  char text[];
} Route;

static void route_free(void *mine) {
  Route *route = mine;
  message_free(route->request);
  free(route);
}

static void *route_new(Text text) {
  Route *route = malloc(sizeof *route + text.length);
  if (!route) return NULL;
  memcpy(route->text, text.ptr, text.length);
  Text rest = {route->text, text.length};
  route->request = message_of(&rest);
  if (route->request && !rest.length) return route;
  route_free(route);
  return NULL;
}

// ---- reading a body ----

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// What may stand between strings and brackets; a colon only right after a name.
static bool passes(char c) { return is_space(c) || (c >= '0' && c <= '9') || (c && strchr(",.+-eEtrufalsn", c)); }

static int hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The name with its escapes of one byte replaced, in `room`, which is as long as the name.
static Text plain(Text name, char *room) {
  size_t length = 0;
  for (size_t at = 0; at < name.length;) {
    const char *c = name.ptr + at;
    if (at + 6 <= name.length && !memcmp(c, "\\u00", 4) && hex(c[4]) >= 0 && hex(c[5]) >= 0) {
      room[length++] = (char)(hex(c[4]) << 4 | hex(c[5]));
      at += 6;
    } else {
      room[length++] = *c;
      at++;
    }
  }
  return (Text){room, length};
}

// Where the string ends that begins before `from`; the text's length if it does not.
static size_t closing_quote(Text text, size_t from) {
  for (size_t at = from; at < text.length; at++) {
    if (text.ptr[at] == '"') return at;
    if (text.ptr[at] == '\\') at++;
  }
  return text.length;
}

// A sentence to be freed, or NULL if memory is short.
static char *sentence(const char *before, Text what, const char *after) {
  size_t room = strlen(before) + what.length + strlen(after) + 1;
  char *text = malloc(room);
  if (text) snprintf(text, room, "%s%.*s%s", before, (int)what.length, what.ptr, after);
  return text;
}

static char *not_json(Text rest) {
  char shown[SHOWN];
  size_t length = rest.length < SHOWN ? rest.length : SHOWN;
  for (size_t i = 0; i < length; i++) shown[i] = rest.ptr[i] >= ' ' && rest.ptr[i] <= '~' ? rest.ptr[i] : '?';
  return sentence("the body is not JSON, which has names and texts in double quotes; look at ", (Text){shown, length}, "");
}

static size_t index_of(const Message *message, Text name) {
  for (size_t i = 0; i < message->count; i++)
    if (same(message->fields[i].names[0], name) || same(message->fields[i].names[1], name)) return i;
  return MOST_FIELDS;
}

// The objects and lists that are open, the innermost last.
typedef struct {
  const Message *message;  // NULL where anything goes
  uint64_t had;            // its fields that the body has had
} Level;

// Notes that the level has this field; sets which fields its value has. Says what is wrong, or NULL.
static char *take_name(Level *level, Text name, const Message **inside) {
  char *room = malloc(name.length + 1), *wrong = NULL;
  if (!room) return NULL;
  Text said = plain(name, room);
  size_t index = index_of(level->message, said);
  if (index == MOST_FIELDS) {
    wrong = sentence("the request has no field \"", said, "\"");
  } else if (level->had >> index & 1) {
    wrong = sentence("the body has the field \"", said, "\" twice");
  } else {
    level->had |= (uint64_t)1 << index;
    *inside = level->message->fields[index].inside;
  }
  free(room);
  return wrong;
}

// What is wrong with the body, to be freed, or NULL.
static char *fault(Text body, const Message *request) {
  Level levels[MOST_DEPTH + 1] = {{NULL, 0}};
  size_t depth = 0;
  const Message *next = request;
  for (size_t at = 0; at < body.length; at++) {
    char c = body.ptr[at];
    if (passes(c)) continue;
    if (c == '{' || c == '[') {
      if (depth == MOST_DEPTH) return NULL;  // deeper than any message
      levels[++depth] = (Level){next, 0};
    } else if (c == '}' || c == ']') {
      if (!depth) return NULL;
      next = levels[--depth].message;
    } else if (c == '"') {
      size_t from = at + 1;
      at = closing_quote(body, from);
      if (at == body.length) return NULL;
      size_t colon = at + 1;
      while (colon < body.length && is_space(body.ptr[colon])) colon++;
      bool is_name = colon < body.length && body.ptr[colon] == ':';
      if (is_name && levels[depth].message) {
        char *wrong = take_name(&levels[depth], (Text){body.ptr + from, at - from}, &next);
        if (wrong) return wrong;
      } else if (!is_name) {
        next = levels[depth].message;
      }
      if (is_name) at = colon;
    } else {
      return not_json((Text){body.ptr + at, body.length - at});
    }
  }
  return NULL;
}

// ---- what Envoy calls ----

static HeadersStatus request_headers(EnvoyFilter envoy, void *mine, bool end) {
  (void)mine;
  return end || !route_config(envoy) ? GO_ON : STOP;
}

// Adds what has come to the body, whose room grows with it; says false if memory is short.
static bool append(EnvoyFilter envoy, BodyKind kind, Text *body) {
  size_t count = CALLBACK(http_get_body_chunks_size)(envoy, kind), bytes = CALLBACK(http_get_body_size)(envoy, kind);
  if (!count) return true;
  Text *chunks = malloc(count * sizeof *chunks);
  char *room = realloc((char *)body->ptr, body->length + bytes);
  if (room) body->ptr = room;
  bool taken = chunks && room && CALLBACK(http_get_body_chunks)(envoy, kind, chunks);
  for (size_t i = 0; taken && i < count; i++) {
    memcpy(room + body->length, chunks[i].ptr, chunks[i].length);
    body->length += chunks[i].length;
  }
  free(chunks);
  return taken;
}

// Looks at the whole body; says whether the request goes on.
static bool is_right(EnvoyFilter envoy, const Route *route, bool received) {
  Text body = {NULL, 0};
  bool again = received && CALLBACK(http_received_buffered_request_body)(envoy);
  bool whole = (again || append(envoy, BUFFERED_REQUEST_BODY, &body)) &&
               (!received || append(envoy, RECEIVED_REQUEST_BODY, &body));
  char *wrong = whole ? fault(body, route->request) : NULL;
  free((char *)body.ptr);
  if (wrong)
    CALLBACK(http_send_response)(envoy, BAD_REQUEST, NULL, 0, (Text){wrong, strlen(wrong)}, TEXT("body_fields"));
  else if (!whole)
    CALLBACK(http_send_response)(envoy, UNAVAILABLE, NULL, 0, TEXT("the edge is short of memory"), TEXT("body_fields"));
  free(wrong);
  return whole && !wrong;
}

static BodyStatus request_body(EnvoyFilter envoy, void *mine, bool end) {
  (void)mine;
  const Route *route = route_config(envoy);
  if (!route) return BODY_GOES_ON;
  if (!end) return BUFFER_BODY;
  return is_right(envoy, route, true) ? BODY_GOES_ON : STOP_BODY;
}

static TrailersStatus request_trailers(EnvoyFilter envoy, void *mine) {
  (void)mine;
  const Route *route = route_config(envoy);
  return !route || is_right(envoy, route, false) ? TRAILERS_GO_ON : STOP_TRAILERS;
}

const Kind fields_filter = {
    .name = {"fields", 6},
    .route_new = route_new,
    .route_free = route_free,
    .request_headers = request_headers,
    .request_body = request_body,
    .request_trailers = request_trailers,
};
