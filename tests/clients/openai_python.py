"""One call of the official Python SDK, told and telling in JSON (see test_clients.py)."""
import json
import sys

import openai


def told(error):
    body = getattr(error, "body", None)
    return {"class": type(error).__name__, "status": getattr(error, "status_code", None),
            "code": body.get("code") if isinstance(body, dict) else None}


def main():
    job = json.load(sys.stdin)
    client = openai.OpenAI(base_url=job["url"] + "/v1", api_key="none",
                           max_retries=job["retries"])
    api = client.chat.completions if job["path"] == "chat" else client.completions
    # exclude_unset: a field that was not sent is told from one that was null.
    out = {"events": [], "error": None}
    body = dict(job["body"])
    if "ignore_eos" in body:  # a field that only engines know
        body["extra_body"] = {"ignore_eos": body.pop("ignore_eos")}
    try:
        answer = api.create(**body)
        if job["body"].get("stream"):
            for event in answer:
                out["events"].append(event.model_dump(exclude_unset=True))
                if len(out["events"]) == job["abort_after"]:
                    answer.close()
                    break
        else:
            out["events"].append(answer.model_dump(exclude_unset=True))
    except openai.APIError as error:
        out["error"] = told(error)
    json.dump(out, sys.stdout)


main()
