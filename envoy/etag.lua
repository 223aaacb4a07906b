-- Answers 304 to who has this already (RFC 9110, 13.1.2). The condition is kept
-- from the cache, which would pass a conditional request on to the service; only
-- requests that carry one come here.
local function opaque(tag)
  return tag:match('^%s*W/(".*")%s*$') or tag:match("^%s*(.-)%s*$")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  handle:streamInfo():dynamicMetadata():set("etag", "condition", headers:get("if-none-match"))
  headers:remove("if-none-match")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local etag = headers:get("etag")
  local kept = handle:streamInfo():dynamicMetadata():get("etag")
  if etag == nil or kept == nil or headers:get(":status") ~= "200" then
    return
  end
  for each in kept.condition:gmatch("[^,]+") do
    if opaque(each) == "*" or opaque(each) == opaque(etag) then
      local body = handle:body()
      if body ~= nil then
        body:setBytes("")
      end
      -- The content-length stays: it is that of what is not sent again.
      headers = handle:headers()
      headers:replace(":status", "304")
      headers:remove("content-type")
      return
    end
  end
end
