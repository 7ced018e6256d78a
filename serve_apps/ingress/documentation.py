"""`/openapi.json`, and `/docs`: a page that shows it, without anything from other hosts."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from raysume.serve_apps.ingress.problems import json_response

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>raysume API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{overflow:auto;background:#8881;padding:.6rem}
details{border:1px solid #8884;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}b.verb{display:inline-block;min-width:3.5rem}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}
</style></head><body>
<h1>raysume API</h1><p id="about"></p>
<p>Every path but <code>/health</code> needs the header
<code>Authorization: Bearer &lt;token&gt;</code>. For programs: <a href="openapi.json">openapi.json</a>.
</p><div id="routes"></div>
<script>
const el=(tag,text,cls)=>{const e=document.createElement(tag);
  if(text!==undefined)e.textContent=text;if(cls)e.className=cls;return e};
const row=(table,...cells)=>{const tr=table.insertRow();
  for(const c of cells)tr.insertCell().textContent=c??""};
fetch("openapi.json").then(r=>r.json()).then(doc=>{
  const look=s=>s&&s.$ref?doc.components.schemas[s.$ref.split("/").pop()]:s;
  document.getElementById("about").textContent=doc.info.description;
  const routes=document.getElementById("routes");
  for(const [path,verbs] of Object.entries(doc.paths))for(const [verb,op] of Object.entries(verbs)){
    const box=el("details"),head=el("summary");
    head.append(el("b",verb.toUpperCase(),"verb"),el("code",path),el("span"," "+(op.summary||"")));
    box.append(head,el("p",op.description||""));
    if(op.parameters){box.append(el("h4","Parameters"));const t=el("table");
      for(const p of op.parameters)row(t,p.name,p.in,p.required?"required":"",
        p.description||p.schema.description||"");box.append(t)}
    for(const [kind,c] of Object.entries(op.requestBody?.content||{})){
      box.append(el("h4","Body: "+kind),el("pre",JSON.stringify(look(c.schema),null,1)))}
    box.append(el("h4","Answers"));
    for(const [status,a] of Object.entries(op.responses)){box.append(el("p",status+" "+a.description));
      for(const c of Object.values(a.content||{}))
        if(status<400)box.append(el("pre",JSON.stringify(look(c.schema),null,1)))}
    routes.append(box)}
});
</script></body></html>
"""


@router.get("/docs", response_model=None)
async def docs() -> Response:
    """The documentation for people."""
    return HTMLResponse(
        _PAGE,
        headers={
            "Content-Security-Policy": "default-src 'none'; connect-src 'self'; "
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        },
    )


@router.get("/openapi.json", response_model=None)
async def openapi(request: Request) -> Response:
    """The documentation for programs."""
    return json_response(request.app.openapi())
