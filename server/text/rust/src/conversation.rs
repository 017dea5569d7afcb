//! A request's conversation on its way through the template: the variables transformers adds,
//! continue_final_message, and the guards that keep a client's words from becoming control tokens
//! (added_tokens.rs).

use serde_json::{Map, Value as Json};

use crate::abi::{answer, free, Buffer, Failure, IdBuffer, Outcome, View};
use crate::added_tokens::Guard;
use crate::chat_template::ChatTemplate;
use crate::tokenizer::TextTokenizer;

/// Marks where the final message ends in the rendered text, so that what the template puts behind it can be
/// cut off. Its last space tells whether the template trims.
const END_OF_FINAL_MESSAGE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Names under which a message's reasoning is passed; templates read the first, some read the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

struct Conversation {
    variables: Map<String, Json>,
    continues: bool,
}

impl Conversation {
    fn parse(json: &[u8]) -> Outcome<Self> {
        let parsed: Json = serde_json::from_slice(json).map_err(|error| {
            Failure::invalid_argument(format!("The conversation is not valid JSON: {error}."))
        })?;
        let Json::Object(mut variables) = parsed else {
            return Err(Failure::invalid_argument("The conversation must be a JSON object."));
        };
        if !variables.get("messages").is_some_and(Json::is_array) {
            return Err(Failure::invalid_argument("The conversation has no list of messages."));
        }
        for name in ["tools", "documents"] {
            variables.entry(name).or_insert(Json::Null);
        }
        variables.entry("add_generation_prompt").or_insert(Json::Bool(false));
        let continues = variables.remove("continue_final_message") == Some(Json::Bool(true));
        if let Some(Json::Array(messages)) = variables.get_mut("messages") {
            messages.iter_mut().for_each(alias_reasoning);
        }
        Ok(Self { variables, continues })
    }

    fn render(mut self, template: &ChatTemplate) -> Outcome<String> {
        if !self.continues {
            return template.render(self.variables);
        }
        self.mark_final_message()?;
        let mut text = template.render(self.variables)?;
        let Some(at) = text.rfind(END_OF_FINAL_MESSAGE.trim_end()) else {
            return Err(Failure::invalid_argument(
                "continue_final_message cannot be used: the model's chat template does not show the final \
                 message.",
            ));
        };
        let trims = !text[at..].starts_with(END_OF_FINAL_MESSAGE);
        text.truncate(at);
        if trims {
            text.truncate(text.trim_end().len());
        }
        Ok(text)
    }

    fn mark_final_message(&mut self) -> Outcome<()> {
        let nothing = || {
            Failure::invalid_argument("continue_final_message needs a final message with text to continue.")
        };
        let content = self
            .variables
            .get_mut("messages")
            .and_then(Json::as_array_mut)
            .and_then(|messages| messages.last_mut())
            .and_then(|message| message.get_mut("content"))
            .ok_or_else(nothing)?;
        let text = match content {
            Json::Array(parts) => {
                parts.iter_mut().rev().find_map(|part| part.get_mut("text")).ok_or_else(nothing)?
            }
            content => content,
        };
        match text {
            Json::String(text) => text.push_str(END_OF_FINAL_MESSAGE),
            _ => return Err(nothing()),
        }
        Ok(())
    }

    fn guard(&mut self, tokenizer: &TextTokenizer) -> Outcome<Option<char>> {
        let mut strings = Vec::new();
        for (name, value) in &self.variables {
            strings.push(name.as_str());
            collect(value, &mut strings);
        }
        let guard = match tokenizer.added.guard_for(&strings) {
            Guard::NotNeeded => return Ok(None),
            Guard::Use(guard) => guard,
            Guard::NoneLeft => {
                return Err(Failure::invalid_argument(
                    "The conversation holds text that spells special tokens and all of U+E000 to U+E0FF \
                     besides; remove \
                     one of them.",
                ))
            }
        };
        let variables = std::mem::take(&mut self.variables);
        self.variables =
            variables.into_iter().map(|(name, value)| (name, guarded(value, guard, tokenizer))).collect();
        Ok(Some(guard))
    }
}

fn alias_reasoning(message: &mut Json) {
    let Some(message) = message.as_object_mut() else { return };
    let given =
        REASONING.iter().find_map(|name| message.get(*name).filter(|value| !value.is_null()).cloned());
    if let Some(reasoning) = given {
        message.entry("thinking").or_insert_with(|| reasoning.clone());
        message.insert(REASONING[0].to_string(), reasoning);
    }
}

fn collect<'a>(value: &'a Json, strings: &mut Vec<&'a str>) {
    match value {
        Json::String(text) => strings.push(text),
        Json::Array(items) => items.iter().for_each(|item| collect(item, strings)),
        Json::Object(members) => {
            for (key, value) in members {
                strings.push(key);
                collect(value, strings);
            }
        }
        _ => {}
    }
}

fn guarded(value: Json, guard: char, tokenizer: &TextTokenizer) -> Json {
    let safe = |text: String| tokenizer.added.guarded(&text, guard).unwrap_or(text);
    match value {
        Json::String(text) => Json::String(safe(text)),
        Json::Array(items) => items.into_iter().map(|item| guarded(item, guard, tokenizer)).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(key, value)| (safe(key), guarded(value, guard, tokenizer))).collect()
        }
        other => other,
    }
}

/// # Safety
/// The views are readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_template_compile(
    source: View,
    bos_token: View,
    eos_token: View,
    unk_token: View,
    pad_token: View,
    out: *mut *mut ChatTemplate,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || {
        let named = [
            ("bos_token", bos_token),
            ("eos_token", eos_token),
            ("unk_token", unk_token),
            ("pad_token", pad_token),
        ];
        let special_tokens = named
            .into_iter()
            .map(|(name, text)| (name.to_string(), text.text()))
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name, Json::String(text.into_owned())))
            .collect();
        Ok(Box::into_raw(Box::new(ChatTemplate::compile(&source.text(), special_tokens)?)))
    })
}

/// # Safety
/// `template` is freed once, when nobody uses it.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_template_free(template: *mut ChatTemplate) {
    free(template);
}

/// # Safety
/// `template` is alive; `variables` is readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_template_render(
    template: *const ChatTemplate,
    variables: View,
    out: *mut Buffer,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || {
        let text = Conversation::parse(variables.bytes())?.render(&*template)?;
        Ok(text.into_bytes().into())
    })
}

/// # Safety
/// `template` and `tokenizer` are alive; `variables` is readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_encode_conversation(
    template: *const ChatTemplate,
    tokenizer: *const TextTokenizer,
    variables: View,
    out: *mut IdBuffer,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || {
        let tokenizer = &*tokenizer;
        let mut conversation = Conversation::parse(variables.bytes())?;
        let guard = conversation.guard(tokenizer)?;
        let text = conversation.render(&*template)?;
        let ids = match guard {
            Some(guard) => tokenizer.encode_guarded(&text, guard)?,
            None => tokenizer.encode(&text, false, true)?,
        };
        Ok(ids.into())
    })
}
