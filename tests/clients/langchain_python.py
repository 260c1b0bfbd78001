"""One call of LangChain's ChatOpenAI, told and telling in JSON (see test_clients.py)."""
import json
import sys

import openai
from langchain_openai import ChatOpenAI


def main():
    job = json.load(sys.stdin)
    body = dict(job["body"])
    own = {key: body.pop(key) for key in ("tools", "tool_choice") if key in body}
    stream, messages = body.pop("stream", False), body.pop("messages")
    body.pop("stream_options", None)
    extra = {"ignore_eos": body.pop("ignore_eos")} if "ignore_eos" in body else None
    model = ChatOpenAI(base_url=job["url"] + "/v1", api_key="none", max_retries=job["retries"],
                       stream_usage=True, extra_body=extra, use_responses_api=False,
                       **body).bind(**own)
    out = {"events": [], "error": None}
    try:
        if stream:
            for event in model.stream(messages):
                out["events"].append(event.model_dump())
                if len(out["events"]) == job["abort_after"]:
                    break
        else:
            out["events"].append(model.invoke(messages).model_dump())
    except openai.APIError as error:
        body = getattr(error, "body", None)
        out["error"] = {"class": type(error).__name__,
                        "status": getattr(error, "status_code", None),
                        "code": body.get("code") if isinstance(body, dict) else None}
    json.dump(out, sys.stdout)


main()
