-- HEAD (RFC 9110, 9.3.2) is kept from the transcoder and from the cache, which know GET
-- only, and answered without the body: with 304 to who has the answer already (13.1.2).
-- Only such requests come here; a GET with a condition is for the cache (envoy/module).
local function opaque(tag)
  return tag:match('^%s*W/(".*")%s*$') or tag:match("^%s*(.-)%s*$")
end

local function has_it(condition, etag)
  for each in condition:gmatch("[^,]+") do
    if opaque(each) == "*" or opaque(each) == opaque(etag) then
      return true
    end
  end
  return false
end

function envoy_on_request(handle)
  local headers, asked = handle:headers(), handle:streamInfo():dynamicMetadata()
  if headers:get(":method") == "HEAD" then
    asked:set("bodiless", "head", true)
    headers:replace(":method", "GET")
  end
  local condition = headers:get("if-none-match")
  if condition ~= nil then
    asked:set("bodiless", "condition", condition)
    headers:remove("if-none-match")
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local asked = handle:streamInfo():dynamicMetadata():get("bodiless")
  if asked == nil then
    return
  end
  local etag = headers:get("etag")
  local not_modified = asked.condition ~= nil and etag ~= nil and headers:get(":status") == "200"
    and has_it(asked.condition, etag)
  if not (asked.head or not_modified) then
    return
  end
  local length = headers:get("content-length")
  local body = handle:body()
  if body ~= nil then
    length = length or tostring(body:length())
    body:setBytes("")
  end
  -- Asked for only now: waiting for the body makes an earlier one invalid. The
  -- content-length is that of what is not sent.
  headers = handle:headers()
  if length ~= nil then
    headers:replace("content-length", length)
  end
  if not_modified then
    headers:replace(":status", "304")
    headers:remove("content-type")
  end
end
