//! Conversions of the list calls between the wire and our types.

use super::{convert, pb};
use crate::authorizer::{
    Access, ContextKeyUse, Listed, Paging, Permission, PermissionCondition, Question, Refusal,
};
use crate::config::Limits;

/// Returns the question and the page of a `ListPermissions` call.
pub(super) fn of_permissions<'b>(
    message: &'b pb::ListPermissionsRequest,
    limits: &Limits,
) -> Result<(Question<'b>, Paging<'b>), Refusal> {
    let question = Question {
        principal: &message.principal,
        action: &message.action,
        resource: &message.resource,
        context: convert::entries(&message.context, "context", limits)?,
        session: convert::session(message.session.as_ref(), limits)?,
        resource_account: &message.resource_account,
        request_id: "",
    };
    let paging = Paging {
        page_size: message.page_size,
        page_token: &message.page_token,
    };
    Ok((question, paging))
}

/// Returns the question and the page of a `ListPrincipals` call.
pub(super) fn of_principals<'b>(
    message: &'b pb::ListPrincipalsRequest,
    limits: &Limits,
) -> Result<(Question<'b>, Paging<'b>), Refusal> {
    let question = Question {
        action: &message.action,
        resource: &message.resource,
        context: convert::entries(&message.context, "context", limits)?,
        resource_account: &message.resource_account,
        ..Question::default()
    };
    let paging = Paging {
        page_size: message.page_size,
        page_token: &message.page_token,
    };
    Ok((question, paging))
}

/// Returns the question of a `ListContextKeys` call.
pub(super) fn of_context_keys<'b>(
    message: &'b pb::ListContextKeysRequest,
    limits: &Limits,
) -> Result<Question<'b>, Refusal> {
    Ok(Question {
        principal: &message.principal,
        action: &message.action,
        resource: &message.resource,
        session: convert::session(message.session.as_ref(), limits)?,
        resource_account: &message.resource_account,
        ..Question::default()
    })
}

/// Returns the message that asks for a page of permissions.
pub(super) fn permissions_message(
    question: &Question<'_>,
    paging: Paging<'_>,
) -> pb::ListPermissionsRequest {
    let asked = convert::message(question);
    pb::ListPermissionsRequest {
        principal: asked.principal,
        context: asked.context,
        session: asked.session,
        resource_account: asked.resource_account,
        action: asked.action,
        resource: asked.resource,
        page_size: paging.page_size,
        page_token: paging.page_token.to_owned(),
    }
}

/// Returns the message that asks for a page of principals.
pub(super) fn principals_message(
    question: &Question<'_>,
    paging: Paging<'_>,
) -> pb::ListPrincipalsRequest {
    let asked = convert::message(question);
    pb::ListPrincipalsRequest {
        action: asked.action,
        resource: asked.resource,
        context: asked.context,
        resource_account: asked.resource_account,
        page_size: paging.page_size,
        page_token: paging.page_token.to_owned(),
    }
}

/// Returns the message that asks for context keys.
pub(super) fn context_keys_message(question: &Question<'_>) -> pb::ListContextKeysRequest {
    let asked = convert::message(question);
    pb::ListContextKeysRequest {
        principal: asked.principal,
        action: asked.action,
        resource: asked.resource,
        session: asked.session,
        resource_account: asked.resource_account,
    }
}

/// Returns the response with a page of permissions.
pub(super) fn permissions(listed: Listed<Permission>) -> pb::ListPermissionsResponse {
    pb::ListPermissionsResponse {
        permissions: listed.items.into_iter().map(permission).collect(),
        next_page_token: listed.next_page_token,
        revision: listed.revision,
    }
}

/// Returns the response with a page of principals.
pub(super) fn principals(listed: Listed<Access>) -> pb::ListPrincipalsResponse {
    let principals = listed.items.into_iter().map(|access| pb::PrincipalAccess {
        principal: access.principal,
        access: if access.is_conditional {
            pb::Access::Conditional.into()
        } else {
            pb::Access::Allowed.into()
        },
        permissions: access.permissions.into_iter().map(permission).collect(),
    });
    pb::ListPrincipalsResponse {
        principals: principals.collect(),
        next_page_token: listed.next_page_token,
        revision: listed.revision,
    }
}

/// Returns the response with context keys.
pub(super) fn context_keys(listed: Listed<ContextKeyUse>) -> pb::ListContextKeysResponse {
    let keys = listed.items.into_iter().map(|found| pb::ContextKeyUse {
        key: found.key,
        derived: found.derived,
        operators: found.operators.into_iter().collect(),
        example_values: found.example_values.into_iter().collect(),
    });
    pb::ListContextKeysResponse {
        keys: keys.collect(),
        revision: listed.revision,
    }
}

fn permission(permission: Permission) -> pb::Permission {
    let conditions = permission.conditions.into_iter();
    pb::Permission {
        actions: permission.actions,
        not_actions: permission.not_actions,
        resources: permission.resources,
        not_resources: permission.not_resources,
        conditions: conditions
            .map(|condition| pb::Condition {
                operator: condition.operator,
                key: condition.key,
                values: condition.values,
            })
            .collect(),
        except: permission
            .except
            .into_iter()
            .map(self::permission)
            .collect(),
        statements: convert::statement_refs(permission.statements),
    }
}

/// Returns the page of permissions in a server's response.
pub(super) fn listed_permissions(response: pb::ListPermissionsResponse) -> Listed<Permission> {
    Listed {
        items: response.permissions.into_iter().map(read).collect(),
        next_page_token: response.next_page_token,
        revision: response.revision,
    }
}

/// Returns the page of principals in a server's response. An access of another kind is taken as conditional.
pub(super) fn listed_principals(response: pb::ListPrincipalsResponse) -> Listed<Access> {
    let access = |one: pb::PrincipalAccess| Access {
        is_conditional: one.access() != pb::Access::Allowed,
        principal: one.principal,
        permissions: one.permissions.into_iter().map(read).collect(),
    };
    Listed {
        items: response.principals.into_iter().map(access).collect(),
        next_page_token: response.next_page_token,
        revision: response.revision,
    }
}

/// Returns the context keys in a server's response.
pub(super) fn listed_context_keys(response: pb::ListContextKeysResponse) -> Listed<ContextKeyUse> {
    let keys = response.keys.into_iter().map(|one| ContextKeyUse {
        key: one.key,
        derived: one.derived,
        operators: one.operators.into_iter().collect(),
        example_values: one.example_values.into_iter().collect(),
    });
    Listed {
        items: keys.collect(),
        next_page_token: String::new(),
        revision: response.revision,
    }
}

fn read(permission: pb::Permission) -> Permission {
    let conditions = permission.conditions.into_iter();
    Permission {
        actions: permission.actions,
        not_actions: permission.not_actions,
        resources: permission.resources,
        not_resources: permission.not_resources,
        conditions: conditions
            .map(|condition| PermissionCondition {
                operator: condition.operator,
                key: condition.key,
                values: condition.values,
            })
            .collect(),
        except: permission.except.into_iter().map(read).collect(),
        statements: convert::names(permission.statements),
    }
}
