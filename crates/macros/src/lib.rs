//! `#[derive(RemotingHeader)]`: one struct declares one command header.
//!
//! The derive writes three things and no more: the field table, the walk that feeds a sink, and
//! the read from parsed fields in one pass over them. Wire forms live in `remoting::serialize`, so
//! a new form never touches this crate. Answers to the reflection in Java's
//! `RemotingCommand.makeCustomHeaderToNet` and `decodeCommandCustomHeader`.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Fields, GenericParam, Ident, LitByte, LitStr, Type, parse_macro_input,
};

/// Makes a struct a command header.
///
/// A plain field is required (Java's `@CFNotNull`), `Option<T>` is optional. The wire name is the
/// camelCase of the field unless `#[header(name = "b")]` says otherwise, and
/// `#[header(route = Topic)]` marks what request routing reads. A struct with a lifetime borrows
/// its text from the fields it was decoded from.
#[proc_macro_derive(RemotingHeader, attributes(header))]
pub fn derive_remoting_header(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

struct Field {
    ident: Ident,
    ty: Type,
    name: LitStr,
    route: Option<Ident>,
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let ident = &input.ident;
    let fields = header_fields(input)?;
    let (lifetime, generics) = lifetimes(input)?;
    let specs = fields.iter().map(
        |Field {
             ty, name, route, ..
         }| {
            let route = route.as_ref().map_or_else(
                || quote!(None),
                |role| quote!(Some(::remoting::header::RouteRole::#role)),
            );
            quote!(::remoting::header::FieldSpec {
                name: #name,
                required: <#ty as ::remoting::header::FieldValue<#lifetime>>::REQUIRED,
                route: #route,
            })
        },
    );
    let writes = fields.iter().map(|Field { ident, name, .. }| {
        quote!(::remoting::header::FieldValue::write(&self.#ident, #name, sink);)
    });
    let found: Vec<Ident> = (0..fields.len())
        .map(|n| format_ident!("found_{n}"))
        .collect();
    // Names of one letter are told apart by a jump; text patterns are compared one after the other.
    let arms = |is_short: bool| {
        fields
            .iter()
            .zip(&found)
            .filter(move |(Field { name, .. }, _)| (name.value().len() == 1) == is_short)
            .map(|(Field { name, .. }, found)| (name, quote!(#found = Some(value),)))
    };
    let short_arms = arms(true).map(|(name, arm)| {
        let letter = LitByte::new(name.value().as_bytes()[0], name.span());
        quote!([#letter] => #arm)
    });
    let long_arms = arms(false).map(|(name, arm)| quote!(#name => #arm));
    let reads = fields.iter().zip(&found).map(|(Field { ident, name, .. }, found)| {
        quote!(#ident: ::remoting::header::FieldValue::read(#name, #found)?)
    });
    Ok(quote! {
        impl #generics ::remoting::header::EncodeHeader for #ident #generics {
            fn encode(&self, sink: &mut impl ::remoting::header::FieldSink) { #(#writes)* }
        }
        impl<#lifetime> ::remoting::header::RemotingHeader<#lifetime> for #ident #generics {
            const FIELDS: &'static [::remoting::header::FieldSpec] = &[#(#specs),*];
            fn decode(
                fields: &#lifetime ::remoting::header::HeaderFields<'_>,
            ) -> Result<Self, ::remoting::header::HeaderError> {
                #(let mut #found = None;)*
                for (name, value) in fields.iter() {
                    match name.as_bytes() {
                        #(#short_arms)*
                        _ => match name {
                            #(#long_arms)*
                            _ => {}
                        }
                    }
                }
                Ok(Self { #(#reads),* })
            }
        }
    })
}

fn header_fields(input: &DeriveInput) -> syn::Result<Vec<Field>> {
    if let Data::Struct(data) = &input.data
        && let Fields::Named(named) = &data.fields
        && !named.named.is_empty()
    {
        return named.named.iter().map(parse_field).collect();
    }
    let message =
        "RemotingHeader needs a struct with named fields; where there are none, use NoHeader";
    Err(syn::Error::new_spanned(&input.ident, message))
}

/// The lifetime that decoding borrows for, and the struct's own generics.
fn lifetimes(
    input: &DeriveInput,
) -> syn::Result<(proc_macro2::TokenStream, proc_macro2::TokenStream)> {
    let mut params = input.generics.params.iter();
    match (params.next(), params.next()) {
        (None, _) => Ok((quote!('f), quote!())),
        (Some(GenericParam::Lifetime(only)), None) => {
            let lifetime = &only.lifetime;
            Ok((quote!(#lifetime), quote!(<#lifetime>)))
        }
        _ => Err(syn::Error::new_spanned(
            &input.generics,
            "a header has at most one lifetime and no other parameters",
        )),
    }
}

fn parse_field(field: &syn::Field) -> syn::Result<Field> {
    let ident = field.ident.clone().expect("the fields are named");
    let mut name = LitStr::new(&camel_case(&ident.to_string()), ident.span());
    let mut route = None;
    for attr in field.attrs.iter().filter(|a| a.path().is_ident("header")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                name = meta.value()?.parse()?;
            } else if meta.path.is_ident("route") {
                route = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("expected `name` or `route`"));
            }
            Ok(())
        })?;
    }
    let ty = field.ty.clone();
    Ok(Field {
        ident,
        ty,
        name,
        route,
    })
}

fn camel_case(snake: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(snake.len());
    for letter in snake.chars() {
        if letter == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.push(letter.to_ascii_uppercase());
        } else {
            camel.push(letter);
        }
    }
    camel
}
