"""What a request would hand to the engine, without running it."""


def test_a_rendered_chat_is_the_prompt_it_would_have(server):
    body = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_k": 3,
    }
    rendered = server.post("/v1/chat/completions/render", body).json()
    said = server.post("/v1/chat/completions", {**body, "return_token_ids": True}).json()
    assert rendered["token_ids"] == said["prompt_token_ids"]
    assert rendered["model"] == said["model"]
    assert rendered["prompt"].count("<|im_start|>") == 3 and "Be brief." in rendered["prompt"]
    sampling = rendered["sampling_params"]
    assert (sampling["max_tokens"], sampling["temperature"], sampling["top_k"]) == (7, 0.5, 3)


def test_rendered_prompts_complete_as_the_texts_do(server):
    body = {"prompt": ["The sea", "The sky"], "max_tokens": 6, "temperature": 0}
    rendered = server.post("/v1/completions/render", body).json()
    assert [prompt["prompt"] for prompt in rendered] == body["prompt"]
    by_ids = {**body, "prompt": [prompt["token_ids"] for prompt in rendered]}
    texts = [choice["text"] for choice in server.post("/v1/completions", body).json()["choices"]]
    assert [choice["text"] for choice in server.post("/v1/completions", by_ids).json()["choices"]] == texts


def test_faults_are_those_of_the_request_itself(server):
    for path in ("/v1/chat/completions", "/v1/completions"):
        refused = server.post(path, {"temperature": 9000})
        rendered = server.post(path + "/render", {"temperature": 9000})
        assert (refused.status_code, refused.json()) == (rendered.status_code, rendered.json())
