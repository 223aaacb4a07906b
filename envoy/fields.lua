-- Refuses JSON bodies with fields that the request does not have, or has twice, and
-- what is not JSON though the transcoder reads it: names without quotes or in single
-- ones. The transcoder skips unknown fields without a word, so that a misspelt
-- `requestId` would lose its effect, and takes the last of two.
--
-- The route's metadata holds the request's fields as nested tables; a field
-- without fields of its own is an empty string.

-- What may stand between strings and brackets; a colon only right after a name.
local other = "[^%s%d,%.%+%-eEtrufalsn]"

local function plain(name)
  if not name:find("\\", 1, true) then
    return name
  end
  local text = name:gsub("\\u00(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  return text
end

-- `request_id` and `requestId` are one field.
local function camel(name)
  return (name:gsub("_+(%w?)", string.upper))
end

-- Where the string ends that begins before `from`; nil if it does not.
local function closing_quote(text, from)
  local stop = from
  while true do
    stop = text:find('["\\]', stop)
    if stop == nil or text:byte(stop) == 34 then
      return stop
    end
    stop = stop + 2
  end
end

-- What is wrong with the body, or nil. What is not JSON otherwise is for the transcoder
-- to say.
local function fault(text, fields)
  -- The fields of each object that is open, the innermost last, and the names it has had;
  -- false where anything goes.
  local open, had, depth, next_fields = {}, {}, 0, fields
  local position = 1
  while true do
    local at = text:find(other, position)
    if at == nil then
      return nil
    end
    local char = text:sub(at, at)
    position = at + 1
    if char == "{" or char == "[" then
      depth = depth + 1
      open[depth], had[depth] = next_fields, {}
    elseif char == "}" or char == "]" then
      if depth == 0 then
        return nil
      end
      depth = depth - 1
      next_fields = open[depth]
    elseif char == '"' then
      local stop = closing_quote(text, position)
      if stop == nil then
        return nil
      end
      local known, value = open[depth], text:match("^%s*:()", stop + 1)
      if value and type(known) == "table" then
        local name = plain(text:sub(position, stop - 1))
        if known[name] == nil then
          return 'the request has no field "' .. name .. '"'
        end
        if had[depth][camel(name)] then
          return 'the body has the field "' .. name .. '" twice'
        end
        had[depth][camel(name)] = true
        next_fields = type(known[name]) == "table" and known[name]
      elseif not value then
        next_fields = known
      end
      position = value or stop + 1
    else
      return "the body is not JSON, which has names and texts in double quotes; look at "
        .. text:sub(at, at + 15):gsub("[^%g ]", "?")
    end
  end
end

function envoy_on_request(handle)
  local fields = handle:metadata():get("fields")
  local body = handle:body()
  if fields == nil or body == nil then
    return
  end
  local message = fault(body:getBytes(0, body:length()), fields)
  if message ~= nil then
    handle:respond({[":status"] = "400"}, message)
  end
end
