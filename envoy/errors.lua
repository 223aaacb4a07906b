-- The transcoder answers a service's error as google.rpc.Status:
--   {"code":5,"message":"…","details":[…]}                    (the gRPC code)
-- The API's errors look like Google's JSON errors (AIP-193):
--   {"error":{"code":404,"message":"…","status":"NOT_FOUND","details":[…]}}
local names = {
  "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
  "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

-- What gRPC itself answers for a service (its deadline has passed, it is stopping) has no
-- details. (Within a message the quotes would be escaped.)
local function with_details(name, rest)
  if rest:find('"details":[{', 1, true) then
    return rest
  end
  local details = '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"' .. name
    .. '","domain":"marquee","metadata":{}}'
  if name == "UNAVAILABLE" or name == "RESOURCE_EXHAUSTED" then
    details = details .. ',{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}'
  end
  return rest:gsub(',"details":%[%]', "") .. ',"details":[' .. details .. "]"
end

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  if status < "400" then
    return
  end
  local body = handle:body()
  if body == nil then
    return
  end
  -- Asked for only now: waiting for the body makes an earlier one invalid.
  local headers = handle:headers()
  -- Also where the answer would have been a stream of lines.
  headers:replace("content-type", "application/json")
  local text = body:getBytes(0, body:length())
  local code, rest = text:match('^{"code":(%d+)(.*)}$')
  if code == nil then
    return
  end
  local name = names[tonumber(code)] or "UNKNOWN"
  rest = with_details(name, rest)
  local length = body:setBytes('{"error":{"code":' .. status .. ',"status":"' .. name .. '"' .. rest .. "}}")
  headers:replace("content-length", tostring(length))
  if headers:get("retry-after") == nil then
    local seconds = rest:match('"retryDelay":"([%d%.]+)s"')
    if seconds ~= nil then
      headers:replace("retry-after", tostring(math.max(1, math.ceil(tonumber(seconds)))))
    end
  end
end
