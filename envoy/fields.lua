-- Refuses JSON bodies with fields that the request does not have. The transcoder
-- skips them without a word, and a misspelt `requestId` would lose its effect.
--
-- The route's metadata holds the request's fields as nested tables; a field
-- without fields of its own is an empty string.

local function unknown_field(text, fields)
  -- The fields of each object that is open, the innermost last; false where
  -- anything goes.
  local open, depth, next_fields = {}, 0, fields
  local position = 1
  while true do
    local at = text:find('[{}%[%]"]', position)
    if at == nil then
      return nil
    end
    local char = text:sub(at, at)
    position = at + 1
    if char == "{" or char == "[" then
      depth = depth + 1
      open[depth] = next_fields
    elseif char == "}" or char == "]" then
      if depth == 0 then
        return nil
      end
      depth = depth - 1
      next_fields = open[depth]
    else
      local stop = position
      while true do
        stop = text:find('["\\]', stop)
        if stop == nil then
          return nil
        end
        if text:byte(stop) == 34 then
          break
        end
        stop = stop + 2
      end
      if text:find("^%s*:", stop + 1) then
        local name = text:sub(position, stop - 1)
        local known = open[depth]
        if type(known) == "table" then
          if known[name] == nil then
            return name
          end
          next_fields = type(known[name]) == "table" and known[name]
        end
      else
        next_fields = open[depth]
      end
      position = stop + 1
    end
  end
end

function envoy_on_request(handle)
  local fields = handle:metadata():get("fields")
  local body = handle:body()
  if fields == nil or body == nil then
    return
  end
  local name = unknown_field(body:getBytes(0, body:length()), fields)
  if name ~= nil then
    handle:respond({[":status"] = "400"}, 'the request has no field "' .. name .. '"')
  end
end
