// Package clients drives a running server with the official Go client. SLUICE_URL is the server's own URL,
// without /v1; SLUICE_MODEL is the name of its model.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// A bound so that a hang ends a test; no claim about speed.
const patience = 2 * time.Minute

const question = "What is the capital of France? Answer in one short sentence."

var (
	url    = os.Getenv("SLUICE_URL")
	model  = os.Getenv("SLUICE_MODEL")
	client = openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"),
		option.WithMaxRetries(0), option.WithRequestTimeout(patience))
)

type object = map[string]any

var weatherSchema = object{
	"type": "object",
	"properties": object{
		"city": object{"type": "string", "enum": []string{"Paris", "Rome"}},
		"days": object{"type": "integer", "minimum": 1, "maximum": 7},
	},
	"required":             []string{"city", "days"},
	"additionalProperties": false,
}

func TestMain(m *testing.M) {
	if url == "" || model == "" {
		panic("set SLUICE_URL (http://localhost:8000, without /v1) and SLUICE_MODEL")
	}
	os.Exit(m.Run())
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, not %v", what, got, want)
	}
}

// plain answers a request written by hand: what the client's answers are compared to.
func plain(t *testing.T, path string, body object) (answer struct {
	Choices []struct {
		Text    string
		Message struct{ Content string }
	}
	Data  []struct{ Embedding []float64 }
	Usage struct {
		PromptTokens     int64 `json:"prompt_tokens"`
		CompletionTokens int64 `json:"completion_tokens"`
	}
}) {
	t.Helper()
	body["model"] = model
	text := must[[]byte](t)(json.Marshal(body))
	response := must[*http.Response](t)(http.Post(url+"/v1/"+path, "application/json", bytes.NewReader(text)))
	defer response.Body.Close()
	equal(t, "status", response.StatusCode, http.StatusOK)
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func plainChat(t *testing.T, contents ...string) (string, int64, int64) {
	t.Helper()
	var messages []object
	for i, content := range contents {
		messages = append(messages, object{"role": []string{"user", "assistant"}[i%2], "content": content})
	}
	answer := plain(t, "chat/completions", object{"messages": messages, "temperature": 0, "max_tokens": 40})
	return answer.Choices[0].Message.Content, answer.Usage.PromptTokens, answer.Usage.CompletionTokens
}

// metric is the sum of the series of that name whose labels contain `labels`.
func metric(t *testing.T, name, labels string) (sum float64) {
	t.Helper()
	response := must[*http.Response](t)(http.Get(url + "/metrics"))
	defer response.Body.Close()
	var text bytes.Buffer
	must[int64](t)(text.ReadFrom(response.Body))
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, labels) {
			value := strings.TrimSpace(line[strings.LastIndex(line, " "):])
			sum += must[float64](t)(strconv.ParseFloat(value, 64))
		}
	}
	return sum
}

func aborted(t *testing.T) float64 {
	t.Helper()
	return metric(t, "vllm:request_success_total", `finished_reason="abort"`)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this never came true: " + what)
		}
	}
}

func chat(content string, maxTokens int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:       model,
		Messages:    []openai.ChatCompletionMessageParamUnion{openai.UserMessage(content)},
		Temperature: openai.Float(0),
		MaxTokens:   openai.Int(maxTokens),
	}
}

func checkWeather(t *testing.T, arguments string) {
	t.Helper()
	var weather struct {
		City string
		Days int
	}
	decoder := json.NewDecoder(strings.NewReader(arguments))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&weather); err != nil {
		t.Fatalf("%s: %v", arguments, err)
	}
	if (weather.City != "Paris" && weather.City != "Rome") || weather.Days < 1 || weather.Days > 7 {
		t.Errorf("%s does not hold its schema", arguments)
	}
}

func TestModels(t *testing.T) {
	pager := client.Models.ListAutoPaging(t.Context())
	var names []string
	for pager.Next() {
		names = append(names, pager.Current().ID)
	}
	if pager.Err() != nil || !slices.Equal(names, []string{model}) {
		t.Fatal(names, pager.Err())
	}
	equal(t, "model", must[*openai.Model](t)(client.Models.Get(t.Context(), model)).ID, model)
}

func TestChat(t *testing.T) {
	content, promptTokens, completionTokens := plainChat(t, question)
	answer := must[*openai.ChatCompletion](t)(client.Chat.Completions.New(t.Context(), chat(question, 40)))
	equal(t, "content", answer.Choices[0].Message.Content, content)
	equal(t, "finish_reason", answer.Choices[0].FinishReason, "stop")
	equal(t, "prompt_tokens", answer.Usage.PromptTokens, promptTokens)
	equal(t, "completion_tokens", answer.Usage.CompletionTokens, completionTokens)
	equal(t, "total_tokens", answer.Usage.TotalTokens, promptTokens+completionTokens)
}

func TestChatStreams(t *testing.T) {
	content, promptTokens, completionTokens := plainChat(t, question)
	request := chat(question, 40)
	request.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), request)
	defer stream.Close()
	var whole openai.ChatCompletionAccumulator
	finished := ""
	for stream.Next() {
		if !whole.AddChunk(stream.Current()) {
			t.Fatal("a chunk does not fit those before it: ", stream.Current().RawJSON())
		}
		if text, ok := whole.JustFinishedContent(); ok {
			finished = text
		}
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	equal(t, "content", whole.Choices[0].Message.Content, content)
	equal(t, "content at its end", finished, content)
	equal(t, "finish_reason", whole.Choices[0].FinishReason, "stop")
	equal(t, "prompt_tokens", whole.Usage.PromptTokens, promptTokens)
	equal(t, "completion_tokens", whole.Usage.CompletionTokens, completionTokens)
}

func TestCompletions(t *testing.T) {
	expected := plain(t, "completions", object{"prompt": "One, two, three,", "temperature": 0, "max_tokens": 6})
	request := openai.CompletionNewParams{
		Model:       openai.CompletionNewParamsModel(model),
		Prompt:      openai.CompletionNewParamsPromptUnion{OfString: openai.String("One, two, three,")},
		Temperature: openai.Float(0),
		MaxTokens:   openai.Int(6),
	}
	answer := must[*openai.Completion](t)(client.Completions.New(t.Context(), request))
	equal(t, "text", answer.Choices[0].Text, expected.Choices[0].Text)
	stream := client.Completions.NewStreaming(t.Context(), request)
	text := ""
	for stream.Next() {
		text += stream.Current().Choices[0].Text
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	equal(t, "streamed text", text, answer.Choices[0].Text)
}

func TestASchemaHolds(t *testing.T) {
	for seed := range int64(3) {
		request := chat("The weather in Rome?", 100)
		request.Temperature, request.Seed = openai.Float(1), openai.Int(seed)
		request.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
				Name: "weather", Strict: openai.Bool(true), Schema: weatherSchema,
			},
		}
		answer := must[*openai.ChatCompletion](t)(client.Chat.Completions.New(t.Context(), request))
		equal(t, "finish_reason", answer.Choices[0].FinishReason, "stop")
		checkWeather(t, answer.Choices[0].Message.Content)
	}
}

func TestToolsAreCalled(t *testing.T) {
	choices := map[string]openai.ChatCompletionToolChoiceOptionUnionParam{
		"required": {OfAuto: openai.String("required")},
		"named": openai.ToolChoiceOptionFunctionToolChoice(
			openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "get_weather"}),
	}
	for name, choice := range choices {
		t.Run(name, func(t *testing.T) {
			request := chat(question, 200)
			request.ToolChoice = choice
			request.ParallelToolCalls = openai.Bool(false)
			request.Tools = []openai.ChatCompletionToolUnionParam{
				openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
					Name: "get_weather", Parameters: weatherSchema,
				}),
			}
			answer := must[*openai.ChatCompletion](t)(client.Chat.Completions.New(t.Context(), request))
			equal(t, "finish_reason", answer.Choices[0].FinishReason, "tool_calls")
			if len(answer.Choices[0].Message.ToolCalls) != 1 {
				t.Fatal(answer.RawJSON())
			}
			call := answer.Choices[0].Message.ToolCalls[0]
			equal(t, "name", call.Function.Name, "get_weather")
			checkWeather(t, call.Function.Arguments)

			stream := client.Chat.Completions.NewStreaming(t.Context(), request)
			var whole openai.ChatCompletionAccumulator
			var finished openai.FinishedChatCompletionToolCall
			for stream.Next() {
				if !whole.AddChunk(stream.Current()) {
					t.Fatal("a chunk does not fit those before it: ", stream.Current().RawJSON())
				}
				if call, ok := whole.JustFinishedToolCall(); ok {
					finished = call
				}
			}
			if stream.Err() != nil {
				t.Fatal(stream.Err())
			}
			equal(t, "finish_reason", whole.Choices[0].FinishReason, "tool_calls")
			streamed := whole.Choices[0].Message.ToolCalls[0]
			equal(t, "streamed name", streamed.Function.Name, call.Function.Name)
			equal(t, "streamed arguments", streamed.Function.Arguments, call.Function.Arguments)
			equal(t, "arguments at their end", finished.Arguments, call.Function.Arguments)

			request.Messages = append(request.Messages, answer.Choices[0].Message.ToParam(),
				openai.ToolMessage("21 degrees", call.ID))
			request.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("none")}
			after := must[*openai.ChatCompletion](t)(client.Chat.Completions.New(t.Context(), request))
			if after.Choices[0].Message.Content == "" || len(after.Choices[0].Message.ToolCalls) > 0 {
				t.Error(after.RawJSON())
			}
		})
	}
}

func TestEmbeddings(t *testing.T) {
	texts := []string{"The cat sleeps.", "Revenue grew."}
	expected := plain(t, "embeddings", object{"input": texts})
	embed := func(request openai.EmbeddingNewParams) *openai.CreateEmbeddingResponse {
		request.Model = model
		return must[*openai.CreateEmbeddingResponse](t)(client.Embeddings.New(t.Context(), request))
	}
	answer := embed(openai.EmbeddingNewParams{
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts},
	})
	for i, item := range answer.Data {
		if !slices.Equal(item.Embedding, expected.Data[i].Embedding) {
			t.Errorf("vector %d is another than the plain one", i)
		}
		squares := 0.0
		for _, x := range item.Embedding {
			squares += x * x
		}
		if math.Abs(squares-1) > 1e-4 {
			t.Errorf("vector %d has the squared length %v", i, squares)
		}
	}
	equal(t, "vectors", len(answer.Data), 2)
	equal(t, "prompt_tokens", answer.Usage.PromptTokens, expected.Usage.PromptTokens)
	short := embed(openai.EmbeddingNewParams{
		Dimensions: openai.Int(64),
		Input:      openai.EmbeddingNewParamsInputUnion{OfArrayOfTokenArrays: [][]int64{{1, 2, 3}}},
	})
	equal(t, "dimensions", len(short.Data[0].Embedding), 64)
}

func response(input string) responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model:           model,
		Input:           responses.ResponseNewParamsInputUnion{OfString: openai.String(input)},
		Temperature:     openai.Float(0),
		MaxOutputTokens: openai.Int(40),
	}
}

func TestResponses(t *testing.T) {
	content, promptTokens, completionTokens := plainChat(t, question)
	first := must[*responses.Response](t)(client.Responses.New(t.Context(), response(question)))
	equal(t, "status", first.Status, "completed")
	equal(t, "text", first.OutputText(), content)
	equal(t, "input_tokens", first.Usage.InputTokens, promptTokens)
	equal(t, "output_tokens", first.Usage.OutputTokens, completionTokens)

	next := response("And Italy?")
	next.PreviousResponseID = openai.String(first.ID)
	second := must[*responses.Response](t)(client.Responses.New(t.Context(), next))
	longer, _, _ := plainChat(t, question, content, "And Italy?")
	equal(t, "text", second.OutputText(), longer)
	again := must[*responses.Response](t)(
		client.Responses.Get(t.Context(), second.ID, responses.ResponseGetParams{}))
	equal(t, "stored text", again.OutputText(), longer)
	if err := client.Responses.Delete(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	_, err := client.Responses.Get(t.Context(), second.ID, responses.ResponseGetParams{})
	var refused *openai.Error
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound {
		t.Fatal(err)
	}
}

func TestResponsesStream(t *testing.T) {
	content, _, completionTokens := plainChat(t, question)
	stream := client.Responses.NewStreaming(t.Context(), response(question))
	text, completed := "", false
	for stream.Next() {
		switch event := stream.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			text += event.Delta
		case responses.ResponseCompletedEvent:
			completed = true
			equal(t, "text in the end", event.Response.OutputText(), content)
			equal(t, "output_tokens", event.Response.Usage.OutputTokens, completionTokens)
		}
	}
	if stream.Err() != nil || !completed {
		t.Fatal(stream.Err(), completed)
	}
	equal(t, "text", text, content)
}

func TestResponsesCallTools(t *testing.T) {
	request := response("The weather in Rome?")
	request.MaxOutputTokens = openai.Int(200)
	request.ParallelToolCalls = openai.Bool(false)
	request.ToolChoice.OfToolChoiceMode = openai.Opt(responses.ToolChoiceOptionsRequired)
	request.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
		Name: "get_weather", Parameters: weatherSchema, Strict: openai.Bool(true),
	}}}
	called := must[*responses.Response](t)(client.Responses.New(t.Context(), request))
	call := called.Output[len(called.Output)-1].AsFunctionCall()
	equal(t, "name", call.Name, "get_weather")
	checkWeather(t, call.Arguments)
	next := response("")
	next.PreviousResponseID = openai.String(called.ID)
	next.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{{
		OfFunctionCallOutput: &responses.ResponseInputItemFunctionCallOutputParam{
			CallID: openai.String(call.CallID),
			Output: responses.ResponseInputItemFunctionCallOutputOutputUnionParam{
				OfString: openai.String("21 degrees"),
			},
		},
	}}}
	after := must[*responses.Response](t)(client.Responses.New(t.Context(), next))
	if after.Usage.InputTokens <= called.Usage.InputTokens {
		t.Error(after.RawJSON())
	}
}

func TestALeftStreamLeavesTheServerIdle(t *testing.T) {
	before := aborted(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream := client.Chat.Completions.NewStreaming(ctx, chat(question, 4000),
		option.WithJSONSet("ignore_eos", true))
	seen := 0
	for stream.Next() {
		if seen++; seen == 3 {
			leave()
		}
	}
	if !errors.Is(stream.Err(), context.Canceled) || seen < 3 {
		t.Fatal(stream.Err(), seen)
	}
	eventually(t, "the request is given up and nothing runs, waits or holds a block", func() bool {
		return aborted(t) == before+1 && metric(t, "vllm:num_requests_running", "") == 0 &&
			metric(t, "vllm:num_requests_waiting", "") == 0 && metric(t, "vllm:kv_cache_usage_perc", "") == 0
	})
}

func TestErrorsTellTheirStatusAndField(t *testing.T) {
	var refused *openai.Error
	bad := chat(question, 4)
	bad.Temperature = openai.Float(-1)
	_, err := client.Chat.Completions.New(t.Context(), bad)
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	equal(t, "status", refused.StatusCode, http.StatusBadRequest)
	equal(t, "param", refused.Param, "temperature")
	equal(t, "type", refused.Type, "invalid_request_error")

	other := chat(question, 4)
	other.Model = "no-such-model"
	stream := client.Chat.Completions.NewStreaming(t.Context(), other)
	if stream.Next() || !errors.As(stream.Err(), &refused) {
		t.Fatal(stream.Err())
	}
	equal(t, "status", refused.StatusCode, http.StatusNotFound)
	equal(t, "code", refused.Code, "model_not_found")
}

func TestParallelRequestsDoNotMix(t *testing.T) {
	questions := []string{"Name a river.", "Count to five.", "What is the capital of Italy?"}
	together := make([]string, len(questions))
	var group sync.WaitGroup
	for i, question := range questions {
		group.Go(func() {
			answer, err := client.Chat.Completions.New(t.Context(), chat(question, 40))
			if err != nil {
				t.Error(err)
				return
			}
			together[i] = answer.Choices[0].Message.Content
		})
	}
	group.Wait()
	for i, question := range questions {
		alone, _, _ := plainChat(t, question)
		equal(t, question, together[i], alone)
	}
}
